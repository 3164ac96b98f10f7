"""`nemostack cleanup`: what a killed run left, and which stack it must be given."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli import main
from nemostack.aliases import Alias, AliasState, Route
from nemostack.errors import BadInput
from nemostack.outputs import StackOutputs
from tests.unit.operations import healthy_cluster as h
from tests.unit.pipeline_harness import Harness
from workflows.engine.run_directory import RunInfo
from workflows.settings import Settings
from workflows.stages.cleanup import leading_to, require_same_stack


def cleanup(folder: Path, outputs: StackOutputs, run: Path, capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    file = folder / "outputs.json"
    file.write_text(outputs.model_dump_json())
    with pytest.raises(SystemExit) as caught:
        main.main(["cleanup", str(run), "--outputs", str(file)])
    return int(caught.value.code or 0), capfd.readouterr().err


@pytest.mark.parametrize("service", ["evaluation", "customization"])
def test_job_whose_id_was_never_written_down_is_stopped(
    service: str, harness: Harness, settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stack = harness.stack
    stack.on(rf"POST /v1/{service}/jobs$", lambda: setattr(stack, "looks_needed", 10_000))
    stack.interrupt_on(rf"POST /v1/{service}/jobs$")
    with pytest.raises(KeyboardInterrupt):
        harness.run(settings)
    (started,) = (stack.evaluations if service == "evaluation" else stack.customizations).values()
    run = harness.prepare(settings).run
    name = "zero_shot" if service == "evaluation" else "customization"
    assert "job_id" not in {key for key, value in run.stage(name).notes.items() if value}
    code, err = cleanup(tmp_path, stack.outputs, run.path, capfd)
    assert (code, started["status"]) == (0, "cancelled"), err
    assert (stack.datasets, stack.models, stack.repos, stack.evaluations) == ({}, {}, {}, {})


def test_an_adapter_that_an_alias_leads_to_stays(
    harness: Harness, settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run, stack = harness.run(settings.model_copy(update={"keep_adapter": True})), harness.stack
    (adapter,) = (name for name in stack.models if "-lora@" in name)
    stack.aliases = {"prod": {"routes": [{"model": adapter, "weight": 100}], "shadow": None}}
    held = (dict(stack.models), dict(stack.datasets))
    code, err = cleanup(tmp_path, stack.outputs, run.path, capfd)
    assert code == 2
    assert "the alias prod leads to the adapter of run" in err
    assert "`nemostack rollback`" in err
    assert (stack.models, stack.datasets) == held
    stack.aliases = None  # a NIM that has none
    assert cleanup(tmp_path, stack.outputs, run.path, capfd)[0] == 0
    assert adapter not in stack.models


def test_adapters_whose_names_do_not_tell_their_dataset_are_known_by_the_run() -> None:
    alias = Alias(routes=(Route(model="default/x-lora-1a2b3c", weight=1),))
    aliases = {"prod": AliasState(name="prod", alias=alias)}
    assert leading_to(aliases, "legal/x", {"default/x-lora-1a2b3c"}) == ["prod"]
    assert leading_to(aliases, "legal/x", {"default/x-lora-4d5e6f"}) == []


def test_another_stack_is_refused(
    harness: Harness, settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    harness.stack.interrupt_on(r"GET /v1/evaluation/jobs/eval-1$")
    with pytest.raises(KeyboardInterrupt):
        harness.run(settings)
    run = harness.prepare(settings).run
    other = harness.stack.outputs.model_copy(update={"target": "gke", "nemo_url": "https://nemo.example.com"})
    requests = len(harness.stack.requests)
    code, err = cleanup(tmp_path, other, run.path, capfd)
    assert code == 2
    assert f"was made on target fake ({harness.stack.url}, Data Store {harness.stack.url}/ds)" in err
    assert "and this is target gke (https://nemo.example.com, " in err
    assert len(harness.stack.requests) == requests
    assert harness.prepare(settings).resumed  # it still counts as unfinished
    assert cleanup(tmp_path, harness.stack.outputs, run.path, capfd)[0] == 0


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"judge_model": "another", "mlflow_url": ""}, True),
        ({"target": "given", "cluster": None}, True),
        ({"target": "gke"}, False),
        ({"nemo_url": "https://nemo.example.com"}, False),
        ({"data_store_url": "https://data-store.example.com"}, False),
        ({"cluster": h.cluster_outputs(context="other")}, False),
    ],
)
def test_which_stack_is_another(changes: dict[str, Any], same: bool) -> None:
    made_on = h.outputs(h.cluster_outputs(context="mine"))
    made_on = made_on.model_copy(update={"nemo_url": "http://me:secret@127.0.0.1:18080"})
    info = RunInfo(
        id="x",
        kind="run",
        identity="0",
        created_at=h.NOW,
        settings=Settings(),
        versions={},
        git_commit=None,
        outputs=json.loads(made_on.model_dump_json()) | {"nemo_url": "http://******@127.0.0.1:18080"},
    )
    given = made_on.model_copy(update=changes)
    if same:
        require_same_stack(info, given)
        return
    with pytest.raises(BadInput, match="name the stack of the run") as caught:
        require_same_stack(info, given)
    assert "secret" not in str(caught.value)
