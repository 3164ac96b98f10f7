"""No secret reaches screen, log or run directory."""

import pytest

from nemostack import redact
from nemostack.errors import JobFailed
from tests.unit.pipeline_harness import Harness
from workflows.settings import Settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET http://user:pw@host:1/x", "GET http://******@host:1/x"),
        ("Authorization: Bearer abcdefgh.ijklmnop", "Authorization: Bearer ******"),
        ("key nvapi-AbC_123-xyz987 used", "key nvapi-****** used"),
        ("hf_abcdefghijklmnopqrstuvwxyz01234567 by hf_hub_download", "hf_****** by hf_hub_download"),
        ('{"api_key": "s3cret", "model": "m"}', '{"api_key": "******", "model": "m"}'),
        ("password=hunter2 next", "password=****** next"),
        ("The bearer of this note, max_tokens=96, http://host/a@b", None),
    ],
)
def test_patterns(text: str, expected: str | None) -> None:
    assert redact.redact(text) == (text if expected is None else expected)


def test_nested_values() -> None:
    assert redact.redact_all({"a": ["http://u:p@h", 1, None], "b": ("x",)}) == {
        "a": ["http://******@h", 1, None],
        "b": ["x"],
    }


def test_a_run_leaves_no_secret_behind(harness: Harness, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEMOSTACK_JUDGE_API_KEY", "judge-key-0815")
    monkeypatch.setattr(redact, "SECRETS", set())
    with_user = harness.stack.url.replace("http://", "http://someone:pa55word@")
    monkeypatch.setattr(
        type(harness.stack), "outputs", harness.stack.outputs.model_copy(update={"nemo_url": with_user})
    )
    asked: list[str] = []
    harness.stack.on(r"GET /v1/evaluation/jobs/eval-1$", lambda: asked.append(str(harness.stack.evaluations)))

    def fail() -> None:
        harness.stack.evaluations["eval-3"] |= {
            "status": "failed",
            "status_details": {"message": "judge-key-0815 refused, http://a:pa55word@b"},
        }

    harness.stack.on(r"GET /v1/evaluation/jobs/eval-3$", fail)
    with pytest.raises(JobFailed, match="eval-3"):
        harness.run(settings)
    run = harness.run(settings)
    assert "judge-key-0815" in asked[0]  # it was used ...
    files = [path for path in run.path.rglob("*") if path.is_file()]
    assert {"run.json", "run.log", "report.html"} <= {path.name for path in files}
    for path in files:
        text = path.read_text()
        assert "judge-key-0815" not in text, path  # ... and is nowhere
        assert "pa55word" not in text, path
    assert "pa55word" not in harness.said
