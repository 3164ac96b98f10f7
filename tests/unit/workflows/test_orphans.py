"""The orphan sweep on the fake stack: finds what killed runs left, and touches nothing that may be another's."""

import json
import shutil
from pathlib import Path

import pytest

from tests.unit.command_line import run_command
from tests.unit.fake_stack import FakeStack
from tests.unit.pipeline_harness import Harness
from workflows.settings import Settings
from workflows.stages import upload

EMPTY: tuple[dict[str, object], ...] = ({}, {}, {}, {})


def left(stack: FakeStack) -> tuple[object, ...]:
    return (stack.datasets, stack.models, stack.repos, stack.evaluations)


def sweep(harness: Harness, capfd: pytest.CaptureFixture[str], *more: str, older: str = "0") -> tuple[int, str]:
    file = harness.root / "outputs.json"
    file.write_text(harness.stack.outputs.model_copy(update={"mlflow_url": ""}).model_dump_json())
    arguments = ("--outputs", str(file), "--runs", str(harness.root), "--older-than", older)
    code = run_command("cleanup", "--orphans", *arguments, *more)
    return code, capfd.readouterr().out


def killed(harness: Harness, settings: Settings, moment: str = r"GET /v1/evaluation/jobs/eval-3$") -> Path:
    """A run that was killed in its last evaluation, with an adapter on the stack."""
    harness.stack.interrupt_on(moment)
    with pytest.raises(KeyboardInterrupt):
        harness.run(settings)
    return harness.prepare(settings).run.path


@pytest.mark.parametrize("folder_is_gone", [False, True])
def test_what_a_killed_run_left_goes(
    harness: Harness, settings: Settings, capfd: pytest.CaptureFixture[str], *, folder_is_gone: bool
) -> None:
    stack, run = harness.stack, killed(harness, settings)
    if folder_is_gone:
        shutil.rmtree(run)
    before = repr(left(stack))
    code, out = sweep(harness, capfd)
    assert (code, repr(left(stack))) == (0, before)
    assert f"would go\t{run.name}\t" in out
    assert ("its folder is gone" in out) is folder_is_gone
    assert "evaluation job eval-1" in out
    assert "LoRA job cust-1" in out
    assert "--yes removes what 1 run(s)" in out
    code, out = sweep(harness, capfd, "--yes")
    assert (code, left(stack)) == (0, EMPTY)
    assert "removed adapter" in out
    assert sweep(harness, capfd)[1] == "No run has left anything in namespace default.\n"


def test_jobs_that_still_run_are_stopped(
    harness: Harness, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    harness.stack.looks_needed = 1000
    harness.stack.on(r"GET /v1/evaluation/jobs/", lambda: setattr(harness.stack, "looks_needed", 0))
    harness.stack.on(r"POST /v1/customization/jobs$", lambda: setattr(harness.stack, "looks_needed", 1000))
    shutil.rmtree(killed(harness, settings, r"GET /v1/customization/jobs/cust-1$"))
    assert sweep(harness, capfd, "--yes")[0] == 0
    assert harness.stack.customizations["cust-1"]["status"] == "cancelled"
    assert left(harness.stack) == EMPTY


def test_what_is_not_proved_to_be_ours_stays(
    harness: Harness, settings: Settings, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = harness.stack
    with monkeypatch.context() as patched:
        patched.setattr("socket.gethostname", lambda: "elsewhere")
        shutil.rmtree(killed(harness, settings))
    stack.datasets["default/theirs"] = {"name": "theirs", "namespace": "default", "custom_fields": {}}
    deleted = stack.count("DELETE")
    code, out = sweep(harness, capfd, "--yes")
    assert (code, "another folder of runs or machine" in out, "theirs" in out) == (0, True, False)
    for dataset in stack.datasets.values():
        dataset["custom_fields"].pop("nemostack_origin", None)
    assert "does not say from which folder" in sweep(harness, capfd, "--yes")[1]
    for dataset in stack.datasets.values():
        if dataset["custom_fields"]:
            dataset["custom_fields"] |= {
                "nemostack_run_id": "../runs",
                "nemostack_origin": upload.origin_of(harness.root),
            }
    assert "a name that no run of ours has" in sweep(harness, capfd, "--yes")[1]
    assert len(stack.evaluations) == 3
    assert stack.count("DELETE") == deleted


def test_young_ones_and_kept_adapters_and_those_in_use_stay(
    harness: Harness, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    stack = harness.stack
    harness.run(settings.model_copy(update={"keep_adapter": True}), new=True)  # no orphan: it was kept on purpose
    shutil.rmtree(killed(harness, settings.model_copy(update={"seed": 1, "reuse": False})))
    assert "younger than 1 day(s)" in sweep(harness, capfd, "--yes", older="1")[1]
    adapter = next(name for name in stack.models if "cust-2" in name)
    assert stack.aliases is not None
    stack.aliases["prod"] = {"routes": [{"model": adapter, "weight": 100}], "shadow": None}
    assert "the alias prod leads to its adapter" in sweep(harness, capfd, "--yes")[1]
    assert stack.count("DELETE /v1/models/.*cust-2") == 0
    stack.aliases.clear()
    assert sweep(harness, capfd, "--yes")[0] == 0
    assert ["cust-1" in name for name in stack.models if "lora" in name] == [True]


def test_an_alias_that_leads_nowhere(harness: Harness, settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    stack = harness.stack
    run = harness.run(settings.model_copy(update={"keep_adapter": True}))
    outputs = harness.root / "outputs.json"
    outputs.write_text(stack.outputs.model_copy(update={"mlflow_url": ""}).model_dump_json())
    assert run_command("promote", str(run.path), "--outputs", str(outputs)) == 0
    assert stack.aliases is not None
    stack.aliases["theirs"] = {"routes": [{"model": "gone", "weight": 1}], "shadow": None}
    assert "would go" not in sweep(harness, capfd)[1]
    (adapter,) = (name for name in stack.models if "-lora@" in name)
    del stack.models[adapter]  # by somebody's hand: `nemostack cleanup` refuses to
    code, out = sweep(harness, capfd, "--yes")
    assert (code, "removed alias prod" in out, "not set by `nemostack promote`" in out) == (0, True, True)
    assert set(stack.aliases) == {"theirs"}
    capfd.readouterr()
    assert run_command("history", "--outputs", str(outputs), "--format", "json") == 0
    assert json.loads(capfd.readouterr().out)["changes"][-1]["action"] == "remove"


def test_a_run_or_orphans_but_not_both(capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in (("cleanup",), ("cleanup", "runs/a", "--orphans")):
        assert run_command(*arguments) == 2
        assert "name the directory of a run, or ask for --orphans" in capfd.readouterr().err
