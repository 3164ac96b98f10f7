"""The whole program for every target and layout under mocks, run once for each."""

from typing import Any

import pytest

from tests.unit.infra import aks_program, eks_program, gke_program
from tests.unit.infra.cluster_support import (
    CLOUDS,
    TARGETS,
    Registration,
    Registrations,
)

RELEASE = "kubernetes:helm.sh/v3:Release"
NODE = {
    "metadata": {"name": "gpu-0", "labels": {"nvidia.com/gpu.memory": "81920"}},
    "spec": {},
    "status": {"allocatable": {"nvidia.com/gpu": "8"}, "conditions": [{"type": "Ready", "status": "True"}]},
}
CLASSES = [
    {
        "metadata": {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": default}},
        "provisioner": "nfs.csi.k8s.io",
    }
    for name, default in (("standard", "true"), ("shared", "false"))
]
DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %s}
spec: {group: nemostack.io}
"""
GENERATED = "generated-by-the-mock"
LLAMA = {
    "name": "llama",
    "model": "meta/llama-3.2-3b-instruct",
    "image": "nvcr.io/nim/meta/llama-3.2-3b-instruct",
    "tag": "1.8.3",
}
CLOUD_OUTPUTS = gke_program.OUTPUTS | eks_program.OUTPUTS | aks_program.OUTPUTS
EVERYTHING: dict[str, Any] = {
    "services": {"guardrails": True, "deployment_management": True, "nim_proxy": True},
    "prerequisites": {"nim_operator": "install"},
    "nims": [
        LLAMA,
        LLAMA
        | {
            "name": "by-operator",
            "deploy": "operator",
            "replicas": 2,
            "disruption_budget": 1,
            "cache": {"access_mode": "ReadWriteMany"},
        },
        LLAMA | {"name": "scaled", "autoscaling": {"max": 4}, "topology_spread": "zone"},
    ],
    "routes": {"kind": "gateway", "domain": "nemo.example.com", "tls": {"kind": "self-signed"}},
    "observability": {"prometheus": "install"},
    "storage": {"rwx_class_name": "shared"},
}
EXTENTS: dict[str, dict[str, Any]] = {
    "least": {},
    "all": EVERYTHING | {"routes": EVERYTHING["routes"] | {"gateway": {"model_aliases": True}}},
    "platform": {"product": "platform", "storage": {"rwx_class_name": "shared"}},
    # during a migration: both products, one NIM each, and users of an identity provider
    "both": EVERYTHING
    | {
        "product": "platform",
        "platform": {
            "keep_microservices": True,
            "oidc": {"issuer": "https://id.example.com", "client_id": "nemo", "admin_email": "admin@example.com"},
        },
        "nims": [
            LLAMA,
            LLAMA | {"name": "of-platform", "model": "meta/llama-3.1-8b-instruct", "deploy": "platform"},
        ],
    },
}
OF_PLATFORM = ("platform", "both")
CASES = [
    pytest.param(
        (target, layout, extent),
        id=f"{target}-{layout}-{extent}",
        marks=[
            pytest.mark.xdist_group(target if target in CLOUDS else f"{target}-{layout}-{extent}"),
            # the SDKs of clouds are slow; the rest of the program is the same for all targets
            *([pytest.mark.slow] if target in CLOUDS and extent != "least" else []),
        ],
    )
    for target in TARGETS
    for layout in ("per-service", "single")
    for extent in EXTENTS
    if extent not in OF_PLATFORM or (layout == "per-service" and target in ("existing", "gke"))
]
Made = tuple[Registrations, dict[str, Any], Any]


def releases(found: Registrations) -> list[Registration]:
    listed = [one for (typ, _), one in found.items() if typ == RELEASE]
    assert listed
    return listed
