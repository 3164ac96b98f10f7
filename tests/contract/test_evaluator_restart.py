"""A job survives its service: killed or stopped, it goes on at the next start and asks no finished item twice."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi

from tests.contract.conftest import STOPPED_S, Running, wait_until
from tests.contract.scripted_model import ScriptedModel


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_running_job_goes_on_after_a_restart(  # noqa: PLR0917 - fixtures
    how: signal.Signals,
    start_process: Callable[..., Running],
    start_app: Callable[..., str],
    data_store_url: str,
    entity_store_url: str,
    hub: HfApi,
    unique: str,
) -> None:
    count, parallel = 40, 2
    model = ScriptedModel(lambda prompt: prompt, delay_s=0.1)
    judge = ScriptedModel(lambda _prompt: "RATING: 4", delay_s=0.05)
    urls = {"data_store_url": data_store_url, "entity_store_url": entity_store_url}
    settings: dict[str, Any] = urls | {"nim_url": start_app(model.app()), "judge_url": start_app(judge.app())}
    settings |= {"judge_model": judge.model_id}
    hub.create_repo(f"default/{unique}", repo_type="dataset")
    rows = "\n".join(json.dumps({"prompt": f"p{n}", "answer": f"p{n}"}) for n in range(count)).encode()
    hub.upload_file(path_or_fileobj=rows, path_in_repo="t.jsonl", repo_id=f"default/{unique}", repo_type="dataset")
    judging = {
        "template": {"messages": [{"role": "user", "content": "judge {{sample.output_text}}"}]},
        "scores": {"s": {"type": "int", "parser": {"pattern": "RATING: (\\d)"}}},
    }
    task = {
        "type": "chat-completion",
        "dataset": f"hf://datasets/default/{unique}/t.jsonl",
        "params": {"template": {"messages": [{"role": "user", "content": "{{item.prompt}}"}]}},
        "metrics": {"em": {"type": "em"}, "judge": {"type": "llm-judge", "params": judging}},
    }
    config = {"type": "custom", "params": {"parallelism": parallel}, "tasks": {"qa": task}}

    first = start_process("evaluator", **settings)
    target = {"type": "model", "model": model.model_id}
    job = httpx.post(f"{first.url}/v1/evaluation/jobs", json={"target": target, "config": config}, timeout=30).json()
    outputs = first.data_dir / "jobs" / job["id"] / "qa" / "outputs.jsonl"
    wait_until(lambda: outputs.exists() and outputs.read_bytes().count(b"\n") >= 20, "twenty records")
    assert first.process is not None
    began = time.monotonic()
    first.process.send_signal(how)
    first.process.wait(STOPPED_S)
    assert time.monotonic() - began < STOPPED_S
    records = [json.loads(line) for line in outputs.read_bytes().split(b"\n")[:-1]]
    answered = {f"p{record['index']}" for record in records if "sample" in record}
    judged = {f"judge p{record['index']}" for record in records if "judge" in record}
    assert 0 < len(answered) < count

    second = start_process("evaluator", **settings, data_dir=first.data_dir)
    url = f"{second.url}/v1/evaluation/jobs/{job['id']}"
    wait_until(lambda: httpx.get(url).json()["status"] not in {"created", "running"}, "the end", 60)
    done = httpx.get(url).json()
    assert done["status"] == "completed", done
    assert done["status_details"]["samples_processed"] == count
    metrics = httpx.get(f"{url}/results").json()["tasks"]["qa"]["metrics"]
    assert metrics["em"]["scores"]["em_score"]["stats"]["count"] == count
    assert metrics["em"]["scores"]["em_score"]["value"] == 1
    assert metrics["judge"]["scores"]["s"]["value"] == 4
    assert all(model.asked[prompt] == 1 for prompt in answered)
    assert all(judge.asked[prompt] == 1 for prompt in judged)
    # only what was on its way at the moment of the stop may have been asked again
    assert count <= model.asked.total() <= count + parallel
    assert count <= judge.asked.total() <= count + parallel


def test_starts_fast_and_light(start_process: Callable[..., Running]) -> None:
    """The heavy libraries wait for the first job: healthy within 3 s (30 s here, for a busy machine), below 200 MB."""
    urls = {f"{name}_url": "http://127.0.0.1:9" for name in ("data_store", "entity_store", "nim", "judge")}
    began = time.monotonic()
    service = start_process("evaluator", **urls, judge_model="m")
    assert time.monotonic() - began < 30
    assert service.process is not None
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert rss < 200_000
