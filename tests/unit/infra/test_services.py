"""What would run, from settings alone."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra import names
from infra.local.accelerator import Shares
from infra.local.services import ServiceSpec, fingerprint, source_digest
from nemostack.clone import ROOT
from nemostack.outputs import StackOutputs
from tests.unit.infra.support import plan


def by_name(stack: Any) -> dict[str, ServiceSpec]:
    return {spec.name: spec for spec in stack.services()}


def test_ports_follow_each_other(tmp_path: Path) -> None:
    assert plan(tmp_path, base_port=30000).ports == {
        "gateway": 30000,
        "data_store": 30001,
        "nim": 30002,
        "mlflow": 30003,
        "judge": 30004,
        "entity_store": 30005,
        "customizer": 30006,
        "evaluator": 30007,
    }


def test_every_service_comes_after_what_it_needs(tmp_path: Path) -> None:
    started: list[str] = []
    for spec in plan(tmp_path).services():
        assert set(spec.after) <= set(started), spec.name
        started.append(spec.name)
    assert sorted(started) == sorted(plan(tmp_path).ports)


def test_urls_in_settings_are_those_of_the_services(tmp_path: Path) -> None:
    services = by_name(plan(tmp_path, base_port=30000))
    assert services["nim"].settings["entity_store_url"] == "http://127.0.0.1:30005"
    assert services["evaluator"].settings["judge_url"] == "http://127.0.0.1:30004"
    assert services["gateway"].settings["routes"]["/v1/customization"] == "http://127.0.0.1:30006"
    assert services["gateway"].settings["routes"]["/v2/evaluation"] == "http://127.0.0.1:30007"
    assert services["gateway"].settings["routes"]["/v1/models"] == "http://127.0.0.1:30005"


def test_the_rank_that_the_customizer_warns_of_is_that_of_nim(tmp_path: Path) -> None:
    services = by_name(plan(tmp_path, nim={"max_lora_rank": 64}))
    assert services["nim"].settings["max_lora_rank"] == 64
    assert services["customizer"].settings["max_served_rank"] == 64


def test_the_page_names_what_a_cluster_serves_and_this_stack_does_not(tmp_path: Path) -> None:
    stack = plan(tmp_path)
    absent = [service for service in names.MICROSERVICES if service.key not in stack.ports]
    missing = {prefix for service in absent for prefix in service.prefixes}
    assert {"/v1/deployment", "/v1/jobs"} <= missing
    assert not missing & set(by_name(stack)["gateway"].settings["routes"])
    page = (ROOT / "docs" / "local-stack.md").read_text(encoding="utf-8")
    (paragraph,) = (text for text in page.split("\n\n") if "are not served locally" in text)
    assert set(re.findall(r"`(/[^`]+)`", paragraph)) == missing


def test_everything_is_on_loopback(tmp_path: Path) -> None:
    for spec in plan(tmp_path).services():
        bound = spec.settings.get("host") or spec.command[spec.command.index("--host") + 1]
        assert bound == "127.0.0.1", spec.name


def test_one_changed_value_concerns_one_service(tmp_path: Path) -> None:
    before, after = by_name(plan(tmp_path)), by_name(plan(tmp_path, nim={"max_loras": 3}))
    assert [name for name in before if before[name] != after[name]] == ["nim"]


def test_a_new_base_model_concerns_those_that_read_it(tmp_path: Path) -> None:
    before = by_name(plan(tmp_path))
    after = by_name(plan(tmp_path, base_model={"id": "acme/x", "path": "acme/x-on-the-hub"}))
    assert {name for name in before if before[name] != after[name]} == {"nim", "customizer", "evaluator"}
    assert after["nim"].settings["model_path"] == "acme/x-on-the-hub"


def test_the_default_base_model_lies_in_the_cache_and_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = plan(tmp_path)
    path = by_name(made)["nim"].settings["model_path"]
    assert Path(path).parent == tmp_path / "cache" / "nemostack" / "models"
    assert by_name(made)["customizer"].settings["base_models"] == {"HuggingFaceTB/SmolLM2-135M-Instruct": path}
    assert path in made.programs
    assert list(plan(tmp_path, base_model={"path": "acme/x"}).programs) == [str(made.python)]
    wrong = plan(tmp_path, base_model={"path": "models/of/mine"}).programs
    assert "names neither a folder nor a model" in wrong["models/of/mine"]
    assert list(plan(tmp_path, base_model={"path": str(tmp_path)}).programs) == [str(made.python)]


def test_only_those_that_load_a_model_from_the_hub_get_its_token(tmp_path: Path) -> None:
    assert not any(spec.inherits for spec in plan(tmp_path).services())
    hub = plan(tmp_path, base_model={"id": "acme/x", "path": "acme/x-on-the-hub"})
    inherits = {spec.name: spec.inherits for spec in hub.services() if spec.inherits}
    assert inherits == dict.fromkeys(("nim", "customizer", "evaluator"), ("HF_TOKEN",))


def test_settings_are_what_the_services_accept(tmp_path: Path) -> None:
    # Their own Settings refuse unknown keys, but live in the other environment: compare names from their source.
    for spec in plan(tmp_path).services():
        if spec.name == "mlflow":
            continue
        package = plan(tmp_path).root / "embedded" / spec.name
        source = "".join(path.read_text() for path in package.glob("*.py"))
        unknown = [
            key for key in spec.settings if key not in ("host", "port", "data_dir") and f"    {key}: " not in source
        ]
        assert not unknown, spec.name


def test_outputs(tmp_path: Path) -> None:
    outputs = plan(tmp_path, base_port=30000).outputs()
    assert set(outputs.model_dump()) == set(StackOutputs.model_fields) - {"kubeconfig"}  # a secret, exported by itself
    assert outputs.nemo_url == "http://127.0.0.1:30000"
    assert outputs.customization_config == "HuggingFaceTB/SmolLM2-135M-Instruct@v1.0.0+CPU"
    assert outputs.log_commands["nim"] == ["tail", "-n", "200", str(tmp_path / "logs" / "nim.log")]
    json.dumps(outputs.model_dump())


def test_changed_code_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1")
    before = source_digest([tmp_path])
    (tmp_path / "notes.txt").write_text("not code")
    assert source_digest([tmp_path]) == before
    (tmp_path / "a.py").write_text("x = 2")
    assert source_digest([tmp_path]) != before


def test_changed_weights_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"1")
    before = fingerprint(tmp_path)
    (tmp_path / "w").write_bytes(b"22")
    assert fingerprint(tmp_path) != before
    assert fingerprint(tmp_path / "absent") == ""


def test_on_a_gpu_services_run_in_their_own_environment_with_their_shares(tmp_path: Path) -> None:
    stack = plan(tmp_path, customizer={"max_concurrent_jobs": 2}, nim={"max_num_seqs": 8})
    stack = replace(stack, shares=Shares((0,), 0.5, (1,), 0.44))
    services = by_name(stack)
    assert stack.python.parts[-3] == ".venv-embedded-cuda"
    assert services["nim"].settings["gpu_memory_fraction"] == 0.5
    assert services["nim"].settings["max_num_seqs"] == 8
    assert services["nim"].settings["max_loras"] == 32
    assert services["customizer"].settings["gpus"] == [1]
    assert services["customizer"].settings["gpu_memory_fraction"] == 0.22  # two jobs divide the share
    assert stack.outputs().customization_config.endswith("@v1.0.0+GPU")


def test_on_a_cpu_no_service_sees_a_gpu(tmp_path: Path) -> None:
    assert plan(tmp_path).environment["CUDA_VISIBLE_DEVICES"] == ""


def test_a_model_of_the_hub_needs_its_id_alone(tmp_path: Path) -> None:
    stack = plan(tmp_path, base_model="meta-llama/Llama-3.2-3B-Instruct")
    assert by_name(stack)["nim"].settings["model_path"] == "meta-llama/Llama-3.2-3B-Instruct"
    assert by_name(stack)["nim"].inherits == ("HF_TOKEN",)
    assert stack.outputs().base_model == "meta-llama/Llama-3.2-3B-Instruct"
