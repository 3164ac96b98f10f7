"""The report: one file, nothing remote, nothing of a model's text becomes markup."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from nemostack.clients.customizer import LossPoint
from tests.unit.pipeline_harness import Harness
from workflows.report import write_report
from workflows.report.render import draw_losses
from workflows.settings import Settings
from workflows.stages.customization import Trained
from workflows.stages.load_test import LoadTested

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> {{ 1234*4321 }} \" onmouseover='x' </style></title>"


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_text_stays_text(harness: Harness, settings: Settings) -> None:
    for split in ("train", "validation", "test"):
        rows = [json.dumps({"prompt": f"{HOSTILE} {split} {i}", "completion": HOSTILE}) for i in range(9)]
        (settings.dataset / f"{split}.jsonl").write_text("\n".join(rows))
    harness.stack.item_scores = _hostile(harness.stack.item_scores)  # type: ignore[method-assign]
    run = harness.run(settings)
    page = Page((run.path / "report.html").read_text())
    names = [tag for tag, _ in page.tags]
    assert not set(names) & {"img", "iframe", "object"}
    assert names.count("script") == 1  # ours
    assert not [attribute for _, attributes in page.tags for attribute in attributes if attribute.startswith("on")]
    assert HOSTILE in page.text
    assert "5332114" not in page.text


def _hostile(original):
    def scores(job):
        return [sample | {"sample": {"output_text": HOSTILE}} for sample in original(job)]

    return scores


def test_nothing_remote(harness: Harness, settings: Settings) -> None:
    run = harness.run(settings)
    text = (run.path / "report.html").read_text()
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag in {"link", "img", "base"}]
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [{}]
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert not re.search(r"url\(|@import", text)
    assert "default-src 'none'" in text


def test_says_what_matters(harness: Harness, settings: Settings) -> None:
    run = harness.run(settings)
    tested = LoadTested(
        verdict="PASS", requests=321, errors=0, tokens_per_s=98.7, ttft_p95_ms=65.4, report="load/report.html"
    )
    record = run.stage("load_test", "Load test")
    record.status, record.outputs = "done", tested.model_dump()
    run.save_stage(record)
    write_report(run)
    page = Page((run.path / "report.html").read_text())
    text = " ".join(page.text.split())
    assert "LoRA beats in-context learning by 0.2 ROUGE-L" in text
    for word in (
        "0.296",
        "0.496",
        "0.696",
        "Every item",
        "test answer",
        "cust-1",
        "Cleanup",
        run.path.name,
        "PASS: 321",
    ):
        assert word in text
    assert ("a", {"href": "load/report.html"}) in page.tags


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("GO", "LoRA beats in-context learning by 0.2 ROUGE-L"),
        ("NO-GO", "LoRA falls short of in-context learning by 0.2 ROUGE-L"),
        ("INCONCLUSIVE", "LoRA and in-context learning cannot be told apart"),
    ],
)
def test_headline(harness: Harness, settings: Settings, outcome: str, said: str) -> None:
    run = harness.run(settings)
    record = run.stage("comparison")
    gate = record.outputs["gate"]
    gate["outcome"] = outcome
    (check,) = gate["candidates"][0]["checks"]
    check["verdict"] = {"GO": "PASS", "NO-GO": "FAIL", "INCONCLUSIVE": "UNCLEAR"}[outcome]
    check["difference"]["mean"] = -0.2 if outcome == "NO-GO" else 0.2
    run.save_stage(record)
    write_report(run)
    title = re.search(r"<h1>(.*?)</h1>", (run.path / "report.html").read_text(), re.DOTALL)
    assert title is not None
    assert " ".join(title[1].split()) == said


def test_unfinished_run_has_a_report_that_says_so(harness: Harness, settings: Settings) -> None:
    harness.stack.interrupt_on(r"GET /v1/customization/jobs/cust-1$")
    with pytest.raises(KeyboardInterrupt):
        harness.run(settings)
    run = harness.prepare(settings).run
    text = Page((run.path / "report.html").read_text()).text
    assert "Not finished: lora customization interrupted" in text
    assert "0.296" in text


@pytest.mark.parametrize("what", ["model", "judge"])
def test_caveats_are_named(harness: Harness, settings: Settings, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    run = harness.run(settings)
    assert "Before you quote" not in _without_dirty((run.path / "report.html").read_text())
    info = run.info()
    change = (
        {"base_model": "HuggingFaceTB/SmolLM2-135M-Instruct"}
        if what == "model"
        else {"judge_model": "nemostack/similarity-judge"}
    )
    run.save_info(info.model_copy(update={"outputs": info.outputs | change}))
    write_report(run)
    sentence = {
        "model": "by Hugging Face (Apache-2.0), on the local stack as a 4-bit version of its",
        "judge": "It is not a language model",
    }[what]
    assert sentence in (run.path / "report.html").read_text()


def _without_dirty(text: str) -> str:
    return text if "uncommitted" not in text else text.replace("Before you quote", "")


def test_the_loss_that_was_not_a_number_is_named(harness: Harness, settings: Settings) -> None:
    run = harness.run(settings)
    trained = Trained.model_validate(run.stage("customization").outputs)
    points = [LossPoint(step=step, value=value) for step, value in ((10, float("nan")), (0, 4.0), (5, 2.0))]
    svg = draw_losses(trained.model_copy(update={"train_loss": points, "val_loss": []}))
    assert "training nan" in svg
    assert draw_losses(trained.model_copy(update={"train_loss": [], "val_loss": []})) == ""
