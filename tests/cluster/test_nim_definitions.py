"""NIMCache and NIMService, as the program makes them, judged by the NIM operator's own definitions: dry runs, strict.

The definitions are NVIDIA's and not kept here: the tests read them from the folder that NEMOSTACK_NIM_CRDS names
(`config/crd/bases` of the operator's sources), and are skipped where it names none.
"""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.nemo.nim_values import cache_spec, service_spec
from infra.nemo.values import Surroundings
from infra.platform.credentials import CredentialNames
from infra.topology import resolve_topology
from simulator import inventory
from simulator.api import DEFINITIONS, STRICT, ApiError, wait
from simulator.charts import generate
from simulator.control_plane import ControlPlane
from tests.unit.infra.cluster_support import config_for

FOLDER = generate.nim_definitions() or Path()
GROUP = "/apis/apps.nvidia.com/v1alpha1/namespaces/default"
AROUND = Surroundings(credentials=CredentialNames(ngc="ngc-api", pull="pull", hf=None), rwx_storage_class="shared")
COLLECTIONS = {"NIMCache": "nimcaches", "NIMService": "nimservices"}
NIM = {
    "name": "llama",
    "model": "meta/llama-3.2-3b-instruct",
    "image": "nvcr.io/nim/meta/llama-3.2-3b-instruct",
    "tag": "1.8.3",
    "deploy": "operator",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not generate.nim_definitions(), reason="NEMOSTACK_NIM_CRDS names no folder with definitions of the NIM operator"
    ),
]


@pytest.fixture
def defined(control_plane: ControlPlane):
    """The two definitions, gone afterwards."""
    found = [
        yaml.safe_load(Path(FOLDER, f"apps.nvidia.com_{plural}.yaml").read_text()) for plural in COLLECTIONS.values()
    ]
    try:
        for definition in found:
            control_plane.api.create(DEFINITIONS, definition)
        for plural in COLLECTIONS.values():
            wait(f"{plural} are served", partial(served, control_plane, plural))
        yield
    finally:
        # other tests make kinds of these names: they must not meet one that is on its way out
        inventory.remove(control_plane.api, {f"{DEFINITIONS}/{definition['metadata']['name']}" for definition in found})


def served(plane: ControlPlane, plural: str) -> bool:
    """Whether objects of the kind can be made. At first the API server has no path for it, then no storage."""
    try:
        plane.api.get(f"{GROUP}/{plural}")
    except ApiError as error:
        if error.code in (404, 429):
            return False
        raise
    return True


def take(plane: ControlPlane, kind: str, spec: dict[str, Any]) -> None:
    plural = COLLECTIONS[kind]
    made = {"apiVersion": "apps.nvidia.com/v1alpha1", "kind": kind, "metadata": {"name": "llama"}, "spec": spec}
    plane.api.create(f"{GROUP}/{plural}{STRICT}", made)


@pytest.mark.usefixtures("defined")
def test_every_way_to_say_a_nim_is_valid(control_plane: ControlPlane) -> None:
    ways: list[dict[str, Any]] = [
        {},
        {"lora": None, "relax_memory": True, "env": {"NIM_LOG_LEVEL": "INFO"}},
        {"replicas": 3, "disruption_budget": 2, "topology_spread": "zone", "cache": {"access_mode": "ReadWriteMany"}},
        {"autoscaling": {"max": 4}, "topology_spread": "node", "cache": {"access_mode": "ReadWriteMany"}},
        {"cache": {"existing_claim": "weights"}},
    ]
    for way in ways:
        for target in ("existing", "minikube", "gke"):
            config = config_for(
                target,
                nims=[NIM | way],
                prerequisites={"nim_operator": "install"},
                observability={"prometheus": "install"},
            )
            topology, nim = resolve_topology(config), config.nims[0]
            take(control_plane, "NIMCache", cache_spec(topology.placement, nim, AROUND))
            take(control_plane, "NIMService", service_spec(topology, nim, AROUND))


@pytest.mark.usefixtures("defined")
def test_a_wrong_field_is_refused(control_plane: ControlPlane) -> None:
    config = config_for("existing", nims=[NIM], prerequisites={"nim_operator": "install"})
    with pytest.raises(ApiError, match="unknown field"):
        take(
            control_plane, "NIMService", service_spec(resolve_topology(config), config.nims[0], AROUND) | {"replica": 1}
        )
