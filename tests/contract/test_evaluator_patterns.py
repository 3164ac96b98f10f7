"""Regular expressions of users: what they find, and that none of them can hold the service up."""
# ruff: noqa: F811 - a fixture that is imported is no redefinition

import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from embedded.evaluator import patterns
from embedded.evaluator.patterns import PatternError, check_pattern, find_last
from tests.contract.conftest import Running
from tests.contract.evaluator_support import (  # noqa: F401 - fixtures among them
    chat_config,
    client,
    finish,
    model,
    service,
    target,
    upload,
)
from tests.contract.scripted_model import ScriptedModel

REPLY = "The answer covers the question in full and names the right clause of the contract. " * 4
CATASTROPHIC = [r"(\w+\s*)+SCORE:\s*(\d)", r"^(.*\s*)*Score: (\d)", r"(.*)*(.*)*(.*)*Q", r"(a|a?)+$b"]


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"RATING: (\d)", "RATING: 1 then RATING: 4", "4"),
        (r"(?:score (\d))|(?:rate (\d))", "rate 3", "3"),
        (r"(\d)", "none", None),
        (r"(?i)rating\W*(\d+)", "Rating = 12", "12"),
        (r"(ü+)", "für grüüün", "üüü"),
    ],
)
def test_the_last_match_counts(pattern: str, text: str, found: str | None) -> None:
    assert find_last(pattern, [text, "", text]) == [found, None, found]


def test_many_replies_come_back_in_order() -> None:
    texts = [f"score {number}" for number in range(2 * patterns.BATCH + 7)]
    assert find_last(r"(\d+)", texts) == [re.findall(r"\d+", text)[-1] for text in texts]


@pytest.mark.parametrize("pattern", CATASTROPHIC)
def test_a_pattern_that_backtracks_for_ever_is_stopped(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "CPU_SECONDS", 1)
    hopeless = REPLY if "a?" not in pattern else "a" * 64 + "c"
    with pytest.raises(PatternError, match=r"takes too long on reply \d: more than 1 s of processor time"):
        find_last(pattern, ["", hopeless])


@pytest.mark.parametrize(
    ("pattern", "says"),
    [(r"(\d", "missing \\)"), (r"\d", "no group"), ("(" * 5000 + ")" * 5000, "regex"), (r"(\d){99999999999}", "regex")],
)
def test_patterns_that_cannot_be_used_are_refused_at_once(pattern: str, says: str) -> None:
    with pytest.raises(PatternError, match=says):
        check_pattern(pattern)


def test_the_job_fails_and_the_service_goes_on(
    client: Any, service: Running, start_app: Callable[..., str], upload: Callable[..., str]
) -> None:
    judge = ScriptedModel(lambda _prompt: REPLY)
    url = start_app(judge.app())
    params = {
        "model": {"api_endpoint": {"url": f"{url}/v1/chat/completions", "model_id": judge.model_id}},
        "template": {"messages": [{"role": "user", "content": "rate {{sample.output_text}}"}]},
        "scores": {"s": {"type": "int", "parser": {"type": "regex", "pattern": CATASTROPHIC[0]}}},
    }
    files_url = upload([{"prompt": "p", "ideal": "x"}])
    config = chat_config(files_url, {"j": {"type": "llm-judge", "params": params}})
    job = client.evaluation.jobs.create(target=target(url), config=config)
    slowest = 0.0
    while client.evaluation.jobs.retrieve(job.id).status not in {"completed", "failed"}:
        began = time.monotonic()
        assert httpx.get(f"{service.url}/health", timeout=30).status_code == 200
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.1)
    message = finish(client, job.id, "failed").status_details.message
    assert "metrics.j.scores.s: regex" in message
    assert "takes too long on reply 1" in message
    assert slowest < 30, "the service answered while the pattern was tried"
    client.evaluation.jobs.delete(job.id)
