"""The whole program, run once for each target, layout and extent of settings."""

from collections.abc import Iterator
from typing import Any

import pytest

from infra.cluster.stack import ClusterStack, ClusterStackArgs
from infra.clusters import adopted
from infra.platform import manifests
from tests.unit.infra import aks_program, eks_program
from tests.unit.infra.cluster_support import (
    ROOT,
    config_for,
    run,
    secret_outputs,
)
from tests.unit.infra.whole_program import CASES, CLASSES, CLOUD_OUTPUTS, DEFINITION, EXTENTS, GENERATED, NODE, Made


@pytest.fixture(scope="module")
def cluster_is_there() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(adopted, "read", lambda _access, kind: {"nodes": [NODE], "storageclasses": CLASSES}[kind])
    patch.setattr(adopted, "read_path", lambda _access, _path: {})
    patch.setattr(manifests, "read", lambda manifest, _folder: (DEFINITION % manifest.file).encode())
    yield
    patch.undo()


@pytest.fixture(scope="module", params=CASES)
def made(request: Any, cluster_is_there: None) -> Made:
    target, layout, extent = request.param
    config = config_for(target, layout=layout, **EXTENTS[extent])
    exports: dict[str, Any] = {}

    def program() -> None:
        stack = ClusterStack("unit", ClusterStackArgs(root=ROOT, settings=config, secrets=secret_outputs()))
        exports.update(stack.exports)

    generated = {"pulumi-python:dynamic/nemostack:GeneratedPassword": {"value": GENERATED}}
    return (
        run(program, outputs=generated | CLOUD_OUTPUTS, calls=eks_program.CALLS | aks_program.answers()),
        exports,
        config,
    )
