"""The list of images: what it names itself. Its charts are compared with the program's in `test_cluster_program.py`."""

from typing import Any

import pytest

from infra import images
from infra.config import ClusterStackConfig
from infra.topology import resolve_topology
from nemostack.withdrawn_images import withdrawn
from tests.unit.infra.cluster_support import config_for


def own_images(config: ClusterStackConfig) -> dict[str, str]:
    return images.own_images(config, resolve_topology(config))


@pytest.mark.parametrize("target", ["gke", "eks", "aks", "existing", "minikube"])
def test_no_image_of_the_program_is_withdrawn(target: str) -> None:
    found = own_images(config_for(target))
    assert "nvcr.io/nim/meta/llama-3.2-3b-instruct:1.8.3" in found
    assert not [image for image in found if withdrawn(image)]
    assert withdrawn("gcr.io/kubebuilder/kube-rbac-proxy:v0.15.0")
    assert withdrawn("docker.io/bitnami/postgresql:16")
    assert not withdrawn("docker.io/bitnamilegacy/postgresql:16")


def test_proxies_of_envoy_are_known_for_the_pinned_version_only() -> None:
    """Envoy Gateway 1.9 has its proxies' image built in, so that no chart shows it."""
    proxies = "docker.io/envoyproxy/envoy:distroless-v1.39.0"
    routes = {"routes": {"kind": "gateway", "domain": "ai.example.com"}}
    assert proxies in own_images(config_for("existing", **routes))
    assert proxies not in own_images(config_for("existing"))
    assert proxies not in own_images(config_for("existing", **routes, charts={"versions": {"gateway-helm": "v1.8.0"}}))


def test_what_runs_beside_the_proxies_is_known_for_the_pinned_version_only() -> None:
    """The chart of Envoy AI Gateway names this image in an argument of its controller."""
    beside = "docker.io/envoyproxy/ai-gateway-extproc:v1.1.0"

    def found(gateway: dict[str, Any], **sections: Any) -> dict[str, str]:
        routes = {"kind": "gateway", "domain": "ai.example.com", "gateway": gateway}
        return own_images(config_for("existing", routes=routes, **sections))

    assert beside in found({"model_aliases": True})
    assert beside not in found({})
    assert beside not in found({"model_aliases": True, "install": False})
    assert beside not in found({"model_aliases": True}, charts={"versions": {"ai-gateway-helm": "v1.0.0"}})
