"""A wrong setting is refused with one line that names its path and the remedy."""

import json
from typing import Any

import pytest

from infra import config


def load(target: str = "local", **local: Any) -> Any:
    return config.load({"nemostack:target": target, "nemostack:local": json.dumps(local)})


def test_defaults() -> None:
    settings = load().local
    assert (settings.base_port, settings.base_model.id) == (18080, "HuggingFaceTB/SmolLM2-135M-Instruct")


def test_other_projects_keys_are_not_ours() -> None:
    config.load({"nemostack:target": "local", "kubernetes:context": "x"})


@pytest.mark.parametrize(
    ("local", "line"),
    [
        ({"base_prot": 1}, "nemostack:local.base_prot: unknown key (did you mean base_port?)"),
        ({"nim": {"max_lora": 1}}, "nemostack:local.nim.max_lora: unknown key (did you mean max_loras?)"),
        ({"base_port": 80}, "nemostack:local.base_port: input should be greater than or equal to 1024, got 80"),
        ({"base_port": 65530}, "nemostack:local.base_port: input should be less than or equal to 65528, got 65530"),
        ({"base_model": {"id": "tiny"}}, "nemostack:local.base_model.id: string should match pattern"),
        ({"nim": {"max_lora_rank": 9}}, "nemostack:local.nim.max_lora_rank: input should be 8, 16, 32"),
        (
            {"nim": {"max_loras": 8, "max_cpu_loras": 4}},
            "nemostack:local.nim: max_cpu_loras (4) must not be below max_loras (8)",
        ),
    ],
)
def test_wrong_settings(local: dict[str, Any], line: str) -> None:
    with pytest.raises(config.SettingsError) as refused:
        load(**local)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


def test_one_line_for_each_wrong_field() -> None:
    with pytest.raises(config.SettingsError) as refused:
        load(base_prot=1, nim={"max_loras": 0})
    assert [line.split(": ")[0] for line in str(refused.value).splitlines()] == [
        "nemostack:local.nim.max_loras",
        "nemostack:local.base_prot",
    ]


def test_unknown_section() -> None:
    with pytest.raises(config.SettingsError, match=r"^nemostack:locale: unknown key \(did you mean local\?\)$"):
        config.load({"nemostack:target": "local", "nemostack:locale": "{}"})


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "nemostack:target: missing; one of local, minikube, existing, gke, eks, aks"),
        (
            {"nemostack:target": "lokal"},
            "nemostack:target: 'lokal' is unknown; choose one of local, minikube, existing, gke, eks, aks",
        ),
        (
            {"nemostack:target": '["gke"]'},
            "nemostack:target: ['gke'] is unknown; choose one of local, minikube, existing, gke, eks, aks",
        ),
    ],
)
def test_targets(raw: dict[str, str], message: str) -> None:
    with pytest.raises(config.SettingsError) as refused:
        config.load(raw)
    assert str(refused.value) == message
