"""Stack files: the starters are short and valid, the annotated forms complete, and reading refuses what is wrong."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from infra import config
from infra.config import stack_file
from infra.config.clusters import CloudCluster
from infra.config.section import section_in
from infra.config.stack import SECRET_KEYS, TARGETS
from nemostack.clone import ROOT
from nemostack.errors import SettingsError

CLUSTERS = [target for target in TARGETS if target != "local"]
KEY = re.compile(r"^\s*(?:# )*\s*(?:- )?(?:nemostack:)?(\w+):(?: |$)", re.MULTILINE)
INLINE = re.compile(r"[{,] (\w+): ")
SECRET = "\n  nemostack:ngc_api_key:\n    secure: v1:abc\n"


def written(folder: Path, content: str) -> Path:
    """A stack file in which the placeholders are replaced."""
    path = folder / "Pulumi.mine.yaml"
    path.write_text(content.replace(stack_file.PLACEHOLDER, "acme-shared") + SECRET)
    return path


def keys_of(model: type[BaseModel]) -> Iterator[str]:
    """Every key of a model and of the sections in it."""
    for name, field in model.model_fields.items():
        yield name
        if inner := section_in(field.annotation):
            yield from keys_of(inner)


def named(content: str) -> set[str]:
    """Keys that a file has, in force or commented out."""
    return {*KEY.findall(content), *INLINE.findall(content)}


@pytest.mark.parametrize("target", TARGETS)
def test_a_starter_is_short_and_valid(target: str, tmp_path: Path) -> None:
    content = stack_file.starter(target, "mine")
    assert len(content.splitlines()) <= 40
    assert content.startswith("# yaml-language-server: $schema=docs/config.schema.json\n")
    assert "Stack mine: " in content
    assert stack_file.check(written(tmp_path, content)).target == target


@pytest.mark.parametrize("target", TARGETS)
def test_the_annotated_form_means_what_the_starter_means(target: str, tmp_path: Path) -> None:
    """Each key that the starter leaves out is there, and is set to its default."""
    short = stack_file.check(written(tmp_path, stack_file.starter(target, "mine")))
    full = stack_file.check(written(tmp_path, stack_file.annotated(target, "mine")))
    assert full.model_dump() == short.model_dump()


@pytest.mark.parametrize("target", TARGETS)
def test_the_annotated_form_names_every_setting(target: str) -> None:
    missing = set(keys_of(TARGETS[target])) - named(stack_file.annotated(target))
    assert not missing


@pytest.mark.parametrize("target", TARGETS)
def test_the_examples_are_the_annotated_forms(target: str) -> None:
    path = ROOT / "examples" / "stacks" / f"{target}.yaml"
    assert path.read_text() == stack_file.annotated(target), "run `python -m infra.config.reference`"


@pytest.mark.parametrize("target", CLUSTERS)
def test_pools_of_clouds_serve_and_train(target: str, tmp_path: Path) -> None:
    settings = stack_file.check(written(tmp_path, stack_file.starter(target, "mine")))
    assert isinstance(settings, config.ClusterStackConfig)
    if isinstance(settings.cluster, CloudCluster):
        assert [len(pool.taints) for pool in settings.cluster.gpu_pools] == [1, 1]
        assert settings.cluster.gpu_pools[0].max == 2


@pytest.mark.parametrize("target", CLUSTERS)
def test_secrets_are_commands_and_never_values(target: str) -> None:
    content = stack_file.annotated(target)
    for key in SECRET_KEYS:
        lines = [line for line in content.splitlines() if f"--secret nemostack:{key}" in line]
        assert len(lines) == 1, key
        assert lines[0].startswith(f"#   pulumi config set -s {target} --secret nemostack:{key}"), key


def enabled(content: str, keys: set[str]) -> str:
    """A file with all its choices taken: the keys and items that are commented out are in force."""
    pattern = re.compile(rf"^(\s*)# (?=\s*(?:# )*(?:- )?(?:nemostack:)?(?:{'|'.join(keys)}):(?: |$))", re.MULTILINE)
    while (taken := pattern.sub(r"\1", content)) != content:
        content = taken
    return content


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_commented_out_has_its_place(target: str) -> None:
    """With every choice in force each key is where the model has it."""
    body = stack_file.annotated(target).split("config:\n", 1)[1]
    sections = {
        key.removeprefix("nemostack:"): value
        for key, value in yaml.safe_load(enabled(body, set(keys_of(TARGETS[target])))).items()
    }
    misplaced = list(strangers(sections, TARGETS[target], ""))
    assert not misplaced


def strangers(values: Any, model: type[BaseModel], path: str) -> Iterator[str]:
    """Paths of keys that the model does not have at their place."""
    for item in values if isinstance(values, list) else [values]:
        for key, value in (item or {}).items():
            field = model.model_fields.get(key)
            if field is None:
                yield f"{path}{key}"
            elif (inner := section_in(field.annotation)) and value is not None:
                yield from strangers(value, inner, f"{path}{key}.")


@pytest.mark.parametrize("target", CLUSTERS)
def test_the_page_of_a_target_is_about_its_stack_file(target: str, tmp_path: Path) -> None:
    page = (ROOT / "docs/targets" / f"{target}.md").read_text()
    settings = stack_file.check(written(tmp_path, stack_file.starter(target, "mine")))
    assert isinstance(settings, config.ClusterStackConfig)
    cluster = settings.cluster
    if isinstance(cluster, CloudCluster):
        for pool in cluster.gpu_pools:
            machine = pool.resolve(target).name
            assert re.search(rf"ool {pool.name}|gpu-{pool.name}", page), pool.name
            assert f"{machine}, {pool.min} to {pool.max} node" in page, machine
        system = cluster.system_pool
        assert f"{system.machine}, {system.min} to {system.max} nodes" in page
    for needed in ("```mermaid", "## Cleanup", f"pulumi up -s {target}", "## Verification status"):
        assert needed in page, needed


# --- reading ------------------------------------------------------------------------------------------------------


def test_placeholders_are_named(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.mine.yaml"
    path.write_text(stack_file.starter("gke", "mine"))
    with pytest.raises(SettingsError, match=r"^nemostack:gke\.project: still replace-me: put your own value here$"):
        stack_file.check(path)


def test_a_secret_in_plain_text_is_refused_and_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.mine.yaml"
    path.write_text("config:\n  nemostack:target: local\n  nemostack:hf_token: hf_abcdefgh\n")
    with pytest.raises(SettingsError, match="stored in plain text: pulumi config set --secret") as refused:
        stack_file.check(path)
    assert "hf_abcdefgh" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("config: [", "cannot be read"),
        ("- a\n", "has no mapping `config`"),
        ("config:\n", "has no mapping `config`"),
        ("config:\n  nemostack:target: gkee\n", "'gkee' is unknown; choose one of"),
        ("config:\n  nemostack:gke: {maintenance: [2026-12-20]}\n", "nemostack:gke: 2026-12-20 is a date to YAML: put"),
    ],
)
def test_what_is_no_stack_file(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.mine.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=message):
        stack_file.check(path)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"there is no .*Pulumi\.mine\.yaml: `nemostack config init` writes one"):
        stack_file.check(tmp_path / "Pulumi.mine.yaml")


def test_values_arrive_as_the_engine_hands_them_over(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.mine.yaml"
    path.write_text("config:\n  nemostack:target: local\n  nemostack:local: {base_port: 19080}\n  aws:region: x\n")
    assert stack_file.read(path) == {
        "nemostack:target": "local",
        "nemostack:local": json.dumps({"base_port": 19080}),
        "aws:region": "x",
    }


@pytest.mark.parametrize("target", CLUSTERS)
def test_files_for_the_platform_mean_the_same_short_and_full(target: str, tmp_path: Path) -> None:
    short = stack_file.check(written(tmp_path, stack_file.starter(target, "mine", "platform")))
    full = stack_file.check(written(tmp_path, stack_file.annotated(target, "mine", "platform")))
    assert full.model_dump() == short.model_dump()
    assert isinstance(short, config.ClusterStackConfig)
    assert short.product == "platform"
    assert not short.services.running
    assert {nim.deploy for nim in short.nims} == {"platform"}
    assert "Entity Store" not in stack_file.starter(target, "mine", "platform")


def test_the_example_of_the_platform_is_the_annotated_form() -> None:
    path = ROOT / "examples" / "stacks" / "gke-platform.yaml"
    assert path.read_text() == stack_file.annotated("gke", product="platform"), "run `python -m infra.config.reference`"
