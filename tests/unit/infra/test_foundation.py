"""Which namespaces the foundation needs, and what makes GPUs allocatable on which target."""

import pytest

from infra import names
from tests.unit.infra.cluster_support import CLOUDS, config_for


@pytest.mark.parametrize(
    ("target", "sections", "software"),
    [
        ("gke", {}, "provided"),
        ("eks", {}, "device-plugin"),
        ("eks", {"eks": CLOUDS["eks"] | {"ami": "BOTTLEROCKET_x86_64_NVIDIA"}}, "provided"),
        ("aks", {}, "device-plugin"),
        ("existing", {}, "provided"),
        ("minikube", {}, "provided"),
        ("eks", {"prerequisites": {"gpu": {"software": "gpu-operator"}}}, "gpu-operator"),
    ],
)
def test_gpu_software_follows_the_nodes(target, sections, software):
    assert config_for(target, **sections).gpu_software == software


def test_everything_installed_has_a_namespace():
    config = config_for("eks", prerequisites={"nim_operator": "install"})
    assert names.foundation(config) == {
        "gpu-operator": "privileged",
        "volcano-system": "privileged",
        "cert-manager": "restricted",
        "nim-operator": "restricted",
        "cnpg-system": "restricted",
        "postgres": "restricted",
        "object-store": "restricted",
    }


def test_what_is_adopted_or_skipped_has_none():
    config = config_for(
        "gke",
        prerequisites={"volcano": "adopt", "cert_manager": "skip", "gateway_api": "skip"},
        postgres={"operator": "adopt"},
        object_store={"kind": "none"},
    )
    assert names.foundation(config) == {"postgres": "restricted"}
