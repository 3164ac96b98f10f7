"""The pages about settings say what the settings are; the schema takes what the program takes."""

from typing import Any

import jsonschema
import pytest
import yaml

from infra.config import reference
from infra.config.section import section_in
from infra.config.stack import SECRET_KEYS, TARGETS
from nemostack.clone import ROOT

SCHEMA: dict[str, Any] = reference.schema()


def test_the_files_are_current() -> None:
    for path, content in reference.files():
        assert path.read_text() == content, "run `python -m infra.config.reference`"


def test_every_setting_says_what_it_means() -> None:
    silent = [
        f"{section.__name__}.{name}"
        for section in reference.sections()
        for name, field in section.model_fields.items()
        if name != "target" and not field.description and not section_in(field.annotation)
    ]
    assert not silent


def test_the_page_has_every_section_and_key() -> None:
    text = reference.page()
    for section, paths in reference.sections().items():
        for path in filter(None, paths):
            assert f"`{path}`" in text, path
        for name in section.model_fields:
            assert f"| `{name}` |" in text or name == "target", name


@pytest.mark.parametrize(
    ("name", "key", "said"),
    [
        ("GpuPool", "disk_gib", "| `disk_gib` | integer, 100 or more | `200` |"),
        ("GpuPool", "zones", "| `zones` | list of strings | `[]` |"),
        ("GpuPool", "name", "| `name` | string | required |"),
        ("NimLora", "max_rank", "| `max_rank` | `8`, `16`, `32`, `64`, `128`, `256` | `32` |"),
        ("Nim", "env", "| `env` | map of string to string | `{}` |"),
        ("Storage", "class_name", "| `class_name` | string |  |"),
    ],
)
def test_rows(name: str, key: str, said: str) -> None:
    section = next(section for section in reference.sections() if section.__name__ == name)
    assert reference.row(key, section.model_fields[key]).startswith(said)


def problems(content: dict[str, Any]) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(content)]


def shipped(target: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "stacks" / f"{target}.yaml").read_text())
    return content


@pytest.mark.parametrize("target", TARGETS)
def test_the_schema_takes_the_stack_files(target: str) -> None:
    content = shipped(target)
    assert not problems(content)
    content["config"]["kubernetes:context"] = "another's"
    content["encryptionsalt"] = "v1:..."
    if target != "local":
        content["config"] |= {f"nemostack:{key}": {"secure": "v1:abc"} for key in SECRET_KEYS}
    assert not problems(content)


def test_the_schema_refuses_what_the_program_refuses() -> None:
    content = shipped("gke")
    content["config"]["nemostack:routs"] = {}
    (problem,) = problems(content)
    assert problem.startswith("'nemostack:routs' does not match any of the regexes")
    content = shipped("gke")
    content["config"]["nemostack:gke"]["gpu_pools"][0]["minn"] = 1
    assert any("'minn' was unexpected" in problem for problem in problems(content))
    content = shipped("gke")
    content["config"]["nemostack:ngc_api_key"] = "in plain text"
    assert problems(content)
    content = shipped("gke")
    content["config"]["nemostack:target"] = "gkee"
    assert problems(content) == ["'gkee' is not one of ['local', 'minikube', 'existing', 'gke', 'eks', 'aks']"]
