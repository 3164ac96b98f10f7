"""The stack files of the Kubernetes targets are complete, valid, and the same where they can be."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from infra import config
from infra.config.clusters import CloudCluster
from infra.config.load import section_in
from infra.config.stack import SECRET_KEYS, TARGETS
from tests.unit.infra.cluster_support import CLOUDS, ROOT

CLUSTERS = [target for target in TARGETS if target != "local"]
SHARED = "===== Identical in all Kubernetes stack files from here on"
KEY = re.compile(r"^\s*(?:# )?\s*(?:- |- \{ )?(?:nemostack:)?(\w+):(?: |$)", re.MULTILINE)
INLINE = re.compile(r"[{,] (\w+): ")
SECRET = {"nemostack:ngc_api_key": "key-of-the-test"}


def text(target: str) -> str:
    return (ROOT / f"Pulumi.{target}.yaml").read_text()


def load(target: str, content: str) -> Any:
    shipped = yaml.safe_load(content)["config"]
    raw = {key: value if isinstance(value, str) else json.dumps(value) for key, value in shipped.items()}
    assert raw["nemostack:target"] == target
    return config.load(raw | SECRET)


def keys_of(model: type[BaseModel]) -> Iterator[str]:
    """Every key of a model and of the sections in it."""
    for name, field in model.model_fields.items():
        yield name
        if inner := section_in(field.annotation):
            yield from keys_of(inner)


def named(content: str) -> set[str]:
    """Keys that a file has, in force or commented out."""
    return {*KEY.findall(content), *INLINE.findall(content)}


def enabled(content: str) -> str:
    """A file with all its choices taken: what is commented out, and looks like a key or an item, is in force."""
    return re.sub(r"^(\s*)# (?=\s*(?:- |[\w:]+:(?: |$)))", r"\1", content, flags=re.MULTILINE)


@pytest.mark.parametrize("target", CLUSTERS)
def test_it_is_valid(target: str) -> None:
    assert load(target, text(target)).target == target


@pytest.mark.parametrize("target", CLUSTERS)
def test_it_names_every_setting(target: str) -> None:
    missing = set(keys_of(TARGETS[target])) - named(text(target))
    assert not missing


@pytest.mark.parametrize("target", CLUSTERS)
def test_it_names_nothing_else(target: str) -> None:
    known = {*keys_of(TARGETS[target]), "config"}
    examples = {"data_store", "key", "value", "effect"}
    unknown = named(text(target).split("config:\n", 1)[1]) - known - examples
    assert not unknown


@pytest.mark.parametrize("target", CLUSTERS)
def test_what_is_not_of_the_target_is_the_default(target: str) -> None:
    loaded = load(target, text(target))
    least: dict[str, str] = {"nemostack:target": target}
    if target in CLOUDS:
        least[f"nemostack:{target}"] = json.dumps(CLOUDS[target])
    if target == "existing":
        least["nemostack:storage"] = json.dumps({"rwx_class_name": loaded.storage.rwx_class_name})
    defaults = config.load(least | SECRET)
    assert loaded.model_dump(exclude={target}) == defaults.model_dump(exclude={target})
    mine, theirs = loaded.cluster.model_dump(), defaults.cluster.model_dump()  # type: ignore[union-attr]
    asked = {name for name, field in type(loaded.cluster).model_fields.items() if field.is_required()}
    assert {key: mine[key] for key in mine if key not in asked} == {
        key: theirs[key] for key in mine if key not in asked
    }


@pytest.mark.parametrize("target", CLUSTERS)
def test_pools_of_clouds_serve_and_train(target: str) -> None:
    cluster = load(target, text(target)).cluster
    if isinstance(cluster, CloudCluster):
        assert [len(pool.taints) for pool in cluster.gpu_pools] == [1, 1]
        assert cluster.gpu_pools[0].max == 2


def test_they_do_not_drift() -> None:
    parts = {target: text(target).split(SHARED) for target in CLUSTERS}
    assert {target: len(part) for target, part in parts.items()} == dict.fromkeys(CLUSTERS, 2)
    first = parts[CLUSTERS[0]][1]
    for target, (_, shared) in parts.items():
        assert shared == first, f"Pulumi.{target}.yaml and Pulumi.{CLUSTERS[0]}.yaml differ below the line"


@pytest.mark.parametrize("target", CLUSTERS)
def test_secrets_are_commands_and_never_values(target: str) -> None:
    for key in SECRET_KEYS:
        lines = [line for line in text(target).splitlines() if f"nemostack:{key}" in line]
        assert len(lines) == 1, key
        assert lines[0].startswith(f"#   pulumi config set -s {target} --secret nemostack:{key}"), key


@pytest.mark.parametrize("target", CLUSTERS)
def test_what_is_commented_out_has_its_place(target: str) -> None:
    """With every choice in force the file is still YAML, and each key is where the model has it."""
    body = text(target).split("config:\n", 1)[1]
    loaded = yaml.safe_load(enabled(body))
    sections = {key.removeprefix("nemostack:"): value for key, value in loaded.items()}
    misplaced = list(strangers(sections, TARGETS[target], ""))
    assert not misplaced


def strangers(said: Any, model: type[BaseModel], path: str) -> Iterator[str]:
    """Paths of keys that the model does not have at their place."""
    for item in said if isinstance(said, list) else [said]:
        for key, value in (item or {}).items():
            field = model.model_fields.get(key)
            if field is None:
                yield f"{path}{key}"
            elif (inner := section_in(field.annotation)) and value is not None:
                yield from strangers(value, inner, f"{path}{key}.")


@pytest.mark.parametrize("target", CLUSTERS)
def test_the_page_of_a_target_is_about_its_stack_file(target: str) -> None:
    page = (ROOT / "docs/targets" / f"{target}.md").read_text()
    cluster = load(target, text(target)).cluster
    if isinstance(cluster, CloudCluster):
        for pool in cluster.gpu_pools:
            machine = pool.resolve(target).name
            assert re.search(rf"ool {pool.name}|gpu-{pool.name}", page), pool.name
            assert f"{machine}, {pool.min} to {pool.max} node" in page, machine
        assert f"{cluster.system_pool.machine}, {cluster.system_pool.min} to {cluster.system_pool.max} nodes" in page  # type: ignore[attr-defined]
    for needed in ("```mermaid", "## Cleanup", f"pulumi up -s {target}", "## Verification status"):
        assert needed in page, needed
