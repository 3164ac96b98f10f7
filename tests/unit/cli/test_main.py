"""The command line: exit codes, where things are printed, and what a failure looks like."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli import main
from nemostack.errors import BadInput
from tests.unit.fake_stack import FakeStack
from tests.unit.pipeline_harness import Harness
from workflows.settings import Settings


def call(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main.main(list(arguments))
    out, err = capfd.readouterr()
    return int(caught.value.code or 0), out, err


@pytest.fixture
def target(stack: FakeStack, tmp_path: Path) -> list[str]:
    path = tmp_path / "outputs.json"
    path.write_text(stack.outputs.model_dump_json())
    return ["--outputs", str(path)]


def scored(harness: Harness, settings: Settings, levels: dict[str, float] | None = None) -> str:
    """A finished run; `levels` shifts the scores of an approach."""
    run = harness.run(settings)
    for name, shift in (levels or {}).items():
        file = run.path / "samples" / f"{name}.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for row in rows:
            row["scores"]["rouge_l"] += shift * (1 if shift > 1 else (-1) ** row["index"] if shift == 1 else 1)
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(run.path)


@pytest.mark.parametrize(
    ("levels", "code", "outcome"),
    [({}, 0, "GO"), ({"lora": -0.4}, 10, "NO-GO"), ({"lora": 1}, 11, "INCONCLUSIVE")],
)
def test_gate(  # noqa: PLR0917
    harness: Harness,
    settings: Settings,
    capfd: pytest.CaptureFixture[str],
    levels: dict[str, float],
    code: int,
    outcome: str,
) -> None:
    path = scored(harness, settings, levels)
    got, out, _ = call(capfd, "gate", path, "--format", "json")
    assert json.loads(out)["outcome"] == outcome
    assert got == code


def test_gate_policy(harness: Harness, settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, policy = scored(harness, settings), tmp_path / "gate.yaml"  # LoRA gains 0.2 on every item
    for gain, code in ((0.1, 0), (0.3, 10)):
        policy.write_text(f"quality: [{{metric: rouge_l, min_gain: {gain}}}]\n")
        got, out, _ = call(capfd, "gate", path, "--policy", str(policy))
        assert (got, f"ROUGE-L higher by more than {gain}" in out) == (code, True)
    policy.write_text("quality: [{metric: rouge}]\n")
    code, _, err = call(capfd, "gate", path, "--policy", str(policy))
    assert (code, "rouge is no metric" in err) == (2, True)
    code, _, err = call(capfd, "gate", path, "--format", "csv")
    assert (code, "table, json" in err) == (2, True)


def test_gate_of_a_single_evaluation_names_what_is_missing(
    harness: Harness, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    run = harness.run(settings.model_copy(update={"kind": "evaluate"}))
    code, _, err = call(capfd, "gate", str(run.path))
    assert (code, "nemostack gate BASELINE CANDIDATE" in err) == (2, True)


def test_compare_two_runs(harness: Harness, settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    first, second = scored(harness, settings), scored(harness, settings)
    code, out, _ = call(capfd, "gate", first, second)
    assert code == 11  # the same scores
    assert "INCONCLUSIVE" in out
    other = settings.model_copy(update={"prompt_column": "completion"})
    third = scored(harness, other)
    code, _, err = call(capfd, "runs", "compare", first, third)
    assert code == 2
    assert "no test item in common" in err


def test_compare_formats(harness: Harness, settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    path = scored(harness, settings)
    _, table, _ = call(capfd, "runs", "compare", path)
    assert table.splitlines()[0] == "metric\tZero-shot\tIn-context\tLoRA"
    _, csv, _ = call(capfd, "runs", "compare", path, "--format", "csv")
    assert csv == (Path(path) / "comparison.csv").read_text()
    code, _, err = call(capfd, "runs", "compare", path, "--format", "xml")
    assert code == 2
    assert "table, json, csv" in err


def test_doctor(stack: FakeStack, target: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capfd, "doctor", *target)
    assert code == 0
    lines = [line.split("\t") for line in out.splitlines()]
    assert [level for level, _ in lines].count("bad") == 0
    assert any("stores and returns a file" in line and level == "ok" for level, line in lines)
    assert stack.repos == {}  # the probe is gone
    assert "Looking at the services" in err


def test_doctor_shows_every_problem(stack: FakeStack, target: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    stack.down = {"/nim", "/ds"}
    code, out, err = call(capfd, "doctor", *target)
    assert code == 8
    bad = [line for line in out.splitlines() if line.startswith("bad")]
    assert len(bad) == 5
    assert all(" -> " in line for line in bad)
    assert "5 of" in err
    assert "Traceback" not in err


def test_doctor_of_a_stack_without_mlflow(stack: FakeStack, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "outputs.json"
    path.write_text(stack.outputs.model_copy(update={"mlflow_url": ""}).model_dump_json())
    code, out, _ = call(capfd, "doctor", "--outputs", str(path))
    assert (code, "MLflow" in out) == (0, False)


def test_doctor_names_what_is_offered_instead(target: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capfd, "doctor", *target, "--customization-config", "x/y@1", "--base-model", "nope")
    assert code == 8
    assert "no config 'x/y@1'; offered: base/model@v1" in out
    assert "no model 'nope'; served: base/model" in out


def test_run_evaluate_customize_cleanup(
    stack: FakeStack, settings: Settings, target: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    common = [*target, "--dataset", str(settings.dataset), "--runs", str(tmp_path / "r")]
    code, out, _ = call(capfd, "evaluate", *common, "--limit", "8", "--shots", "2")
    assert code == 0
    assert "ROUGE-L\t0.496" in out
    code, out, _ = call(capfd, "customize", *common)
    assert code == 0
    model = next(iter(stack.models))
    assert f"Model: {model}" in out
    code, out, _ = call(capfd, "evaluate", *common, "--limit", "8", "--model", model)
    assert "ROUGE-L\t0.696" in out
    (directory,) = [
        p.parent for p in (tmp_path / "r").glob("*/run.json") if json.loads(p.read_text())["kind"] == "customize"
    ]
    code, out, _ = call(capfd, "cleanup", str(directory), *target)
    assert code == 0
    assert f"removed adapter {model}" in out
    assert stack.models == {}
    code, out, _ = call(capfd, "evaluate", *common, "--benchmark", "gsm8k", "--limit", "4")
    assert out.startswith("gsm8k exact_match.exact_match\t0.2500\n")


def test_cleanup_of_a_run_given_up(
    harness: Harness, settings: Settings, target: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    harness.stack.looks_needed = 99
    harness.stack.on(r"GET /v1/evaluation/jobs/", lambda: setattr(harness.stack, "looks_needed", 0))
    harness.stack.on(r"POST /v1/customization", lambda: setattr(harness.stack, "looks_needed", 99))
    harness.stack.interrupt_on(r"GET /v1/customization/jobs/cust-1$")
    with pytest.raises(KeyboardInterrupt):
        harness.run(settings)
    directory = harness.prepare(settings).run.path
    code, _, _ = call(capfd, "cleanup", str(directory), *target)
    stack = harness.stack
    assert code == 0
    assert stack.customizations["cust-1"]["status"] == "cancelled"
    assert (stack.datasets, stack.models, stack.repos, stack.evaluations) == ({}, {}, {}, {})
    assert not harness.prepare(settings).resumed


def test_dry_run_touches_nothing(
    stack: FakeStack, settings: Settings, target: list[str], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["--dataset", str(settings.dataset), "--dry-run", "--runs", str(tmp_path / "r"), *target]
    code, out, _ = call(capfd, "run", *arguments)
    assert code == 0
    assert out.splitlines()[5] == "6. LoRA customization"
    assert "Time: unknown, there is nothing to go on: no earlier run" in out
    for command in ("customize", "sweep"):
        code, out, _ = call(capfd, command, *arguments)
        assert (code, "Cost: unknown without times" in out) == (0, True)
    code, out, err = call(capfd, "customize", *arguments[:-1], "/nowhere.json")
    assert (code, "Nothing was created" in out, "reading stack outputs from /nowhere.json" in err) == (0, True, True)
    assert stack.requests == []
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["runs", "compare", "/nowhere"], 2, "/nowhere is not a run directory"),
        (["gate", "/nowhere"], 2, "/nowhere is not a run directory"),
        (["doctor", "--outputs", "/nowhere.json"], 3, "reading stack outputs from /nowhere.json failed"),
        (["run", "--dataset", "/nowhere", "--outputs", "OUTPUTS"], 2, "/nowhere is not a directory"),
        (["run", "--namespace", "../x", "--outputs", "OUTPUTS"], 2, "--namespace"),
        (["run", "--learning-rate", "0"], 2, "expected a number above 0"),
    ],
)
def test_failures_are_one_line(
    target: list[str], capfd: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    got, out, err = call(capfd, *[target[1] if a == "OUTPUTS" else a for a in arguments])
    assert (got, out) == (code, "")
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(BadInput, match="is not a run directory"):
        main.main(["--debug", "runs", "compare", "/nowhere"])


def test_usage_errors_are_2(capfd: pytest.CaptureFixture[str]) -> None:
    assert call(capfd, "run", "--limit", "0")[0] == 2
    assert call(capfd, "nonsense")[0] == 2


def test_a_bug_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("workflows.results.compare_runs.compare_runs", lambda *_a, **_k: 1 / 0)
    code, _, err = call(capfd, "runs", "compare", ".")
    assert code == 1
    assert err.startswith("error: unexpected ZeroDivisionError")
    assert "--debug" in err


def test_help_needs_no_heavy_library() -> None:
    script = (
        "import sys\nfrom cli import main\n"
        "try:\n    main.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = ('pydantic', 'mlflow', 'openai', 'nemo_microservices', 'huggingface_hub', 'numpy', 'httpx')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_of_the_list_can_be_loaded() -> None:
    for name, command in main.Commands.table.items():
        loaded = command.load(name)
        assert loaded.name == name
        assert loaded.help, name


def test_completion_knows_the_commands() -> None:
    completion = {"_NEMOSTACK_COMPLETE": "complete_bash", "COMP_WORDS": "nemostack te", "COMP_CWORD": "1"}
    command = [sys.executable, "-m", "cli"]
    done = subprocess.run(command, env={**os.environ, **completion}, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["teardown"]
