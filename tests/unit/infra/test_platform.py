"""What would run on a local stack of the product `platform`, from settings alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from infra.config import LocalSettings
from infra.local.accelerator import Shares
from infra.local.folders import StackFolder
from infra.local.platform import PlatformPlan, entity_name
from infra.local.services import ServiceSpec
from nemostack.clone import ROOT
from nemostack.errors import LocalServiceError
from tests.unit.infra.test_program import run_program


def plan(folder: Path, **settings: object) -> PlatformPlan:
    return PlatformPlan(root=ROOT, folder=StackFolder(folder), settings=LocalSettings.model_validate(settings))


def by_name(stack: PlatformPlan) -> dict[str, ServiceSpec]:
    return {spec.name: spec for spec in stack.services()}


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "huggingfacetb-smollm2-135m-instruct"),
        # these two are of NVIDIA's own documentation of its function
        ("meta/llama-3.2-1b-instruct", "meta-llama-3-2-1b-instruct"),
        ("01-ai/yi-large", "m-01-ai-yi-large"),
        ("acme/__x__", "acme-x"),
    ],
)
def test_names_of_entities_follow_the_rules_of_the_platform(model: str, name: str) -> None:
    assert entity_name(model) == name


@pytest.mark.parametrize("model", ["a/" + "b" * 70, "_/_"])
def test_a_name_that_the_platform_would_refuse_is_refused_here(model: str) -> None:
    with pytest.raises(LocalServiceError, match="takes 2 to 63 characters: choose another id"):
        entity_name(model)


def test_none_of_our_own_stores_run_beside_it(tmp_path: Path) -> None:
    assert plan(tmp_path, base_port=30000).ports == {"platform": 30000, "nim": 30002, "mlflow": 30003, "judge": 30004}
    assert set(by_name(plan(tmp_path))) == {"platform", "nim", "mlflow", "judge"}


def test_it_listens_on_loopback_and_keeps_all_in_its_folder(tmp_path: Path) -> None:
    spec = by_name(plan(tmp_path, base_port=30000))["platform"]
    assert spec.command[spec.command.index("--host") + 1] == "127.0.0.1"
    assert spec.command[spec.command.index("--port") + 1] == "30000"
    own = str(tmp_path / "data" / "platform")
    for name in ("NMP_DATA_DIR", "HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        assert spec.environment[name].startswith(own), name
    assert spec.settings["files"]["default_storage_config"]["path"].startswith(own)
    assert spec.settings["jobs"]["executors"][0]["config"]["working_directory"].startswith(own)


def test_it_can_keep_secrets_under_a_key_of_its_own(tmp_path: Path) -> None:
    """Without one the platform answers 500 to whoever keeps a secret: a judge's key, a token of the Hub."""
    kept = by_name(plan(tmp_path))["platform"].settings["secrets"]
    assert kept["allow_key_creation"] is True
    assert kept["local_key_creation_path"].startswith(str(tmp_path / "data" / "platform"))


def test_nothing_is_reported_home(tmp_path: Path) -> None:
    stack = plan(tmp_path)
    spec = by_name(stack)["platform"]
    seen = stack.environment | spec.environment
    assert (seen["OTEL_SDK_DISABLED"], seen["DO_NOT_TRACK"], seen["HF_HUB_DISABLE_TELEMETRY"]) == ("true", "1", "1")
    assert spec.settings["studio"] == {"telemetry_enabled": False}


def test_nim_serves_what_the_platform_puts_into_the_folder(tmp_path: Path) -> None:
    services = by_name(plan(tmp_path, base_model={"id": "acme/Tiny_1", "path": "acme/tiny"}))
    nim, platform = services["nim"], services["platform"]
    assert nim.settings["base_model"] == "default/acme-tiny-1"
    assert nim.settings["peft_source"] == platform.environment["NIM_PEFT_SOURCE"]
    assert not {"entity_store_url", "data_store_url"} & set(nim.settings)
    entity = (platform.environment["NMP_MODEL_ENTITY_WORKSPACE"], platform.environment["NMP_MODEL_ENTITY_NAME"])
    assert entity == ("default", "acme-tiny-1")


def test_training_gets_the_interpreter_with_pytorch_and_its_share_of_the_gpus(tmp_path: Path) -> None:
    seen = by_name(plan(tmp_path, customizer={"threads": 3}))["platform"].environment
    assert {key: value for key, value in seen.items() if key.startswith("NEMOSTACK_TRAINING_")} == {
        "NEMOSTACK_TRAINING_PYTHON": str(ROOT / ".venv-embedded" / "bin" / "python"),
        "NEMOSTACK_TRAINING_ACCELERATOR": "cpu",
        "NEMOSTACK_TRAINING_THREADS": "3",
        "NEMOSTACK_TRAINING_MAX_SERVED_RANK": "32",
    }
    with_gpus = by_name(replace(plan(tmp_path), shares=Shares((0,), 0.5, (1, 2), 0.44)))["platform"].environment
    assert with_gpus["NEMOSTACK_TRAINING_PYTHON"].endswith(".venv-embedded-cuda/bin/python")
    assert with_gpus["NEMOSTACK_TRAINING_GPUS"] == "1,2"  # each computes a part of a job
    assert with_gpus["NEMOSTACK_TRAINING_GPU_MEMORY_FRACTION"] == "0.44"


def test_the_rank_that_training_warns_of_is_that_of_nim(tmp_path: Path) -> None:
    services = by_name(plan(tmp_path, nim={"max_lora_rank": 64}))
    assert services["nim"].settings["max_lora_rank"] == 64
    assert services["platform"].environment["NEMOSTACK_TRAINING_MAX_SERVED_RANK"] == "64"


def test_its_environment_must_be_installed(tmp_path: Path) -> None:
    assert str(ROOT / ".venv-platform" / "bin" / "nemo") in plan(tmp_path).programs


def test_outputs(tmp_path: Path) -> None:
    outputs = plan(tmp_path, base_port=30000).outputs()
    assert outputs.product == "platform"
    assert outputs.nemo_url == "http://127.0.0.1:30000"
    assert outputs.studio_url == "http://127.0.0.1:30000/studio/"
    assert outputs.data_store_url == ""
    assert outputs.base_model == "default/huggingfacetb-smollm2-135m-instruct"
    assert set(outputs.log_commands) == {"platform", "nim", "mlflow", "judge"}


def test_the_program_makes_the_model_known_last() -> None:
    registered, exports = run_program({"nemostack:target": "local", "nemostack:product": "platform"})
    services = {name for kind, name in registered if kind.endswith("LocalService")}
    assert services == {"platform", "nim", "mlflow", "judge"}
    model = registered["pulumi-python:dynamic/nemostack:PlatformModel", "model"]
    assert {urn.split("::")[-1] for urn in model.dependencies} == services
    assert exports["product"] == "platform"
