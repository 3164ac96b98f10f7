"""A cluster, as kubectl shows it, where an InferencePool leads requests to NIM and a router reads rewrites."""

import json
from pathlib import Path

from tests.unit.fake_kubectl import FakeKubectl
from tests.unit.operations import healthy_cluster as h

GROUPS = NEW, LEGACY = "llm-d.ai", "inference.networking.x-k8s.io"
KINDS = {
    **h.KINDS,
    "inferencepools.inference.networking.k8s.io": "InferencePool",
    **{f"inferencemodelrewrites.{group}": "InferenceModelRewrite" for group in GROUPS},
}
SERVICE = h.thing("Service", "llama", "llama", spec={"selector": {"app": "llama"}})


def pool(name: str, **labels: str) -> h.Object:
    """Return an InferencePool over the pods with these labels."""
    return h.thing("InferencePool", name, "llama", spec={"selector": {"matchLabels": labels}})


def kubectl_of(folder: Path) -> FakeKubectl:
    """Return a kubectl of such a cluster."""
    kubectl = FakeKubectl(folder)
    kubectl.write("kinds.json", KINDS)
    served = [name for name in KINDS if "inference" in name]
    kubectl.write("api-resources.txt", "\n".join(("pods", "services", *served)) + "\n")
    kubectl.write("objects.json", [SERVICE, pool("llama-pool", app="llama"), pool("other", app="other")])
    return kubectl


def rewrites(kubectl: FakeKubectl) -> list[h.Object]:
    """Return the InferenceModelRewrites that are there."""
    objects: list[h.Object] = json.loads((kubectl.folder / "objects.json").read_text())
    return [one for one in objects if one["kind"] == "InferenceModelRewrite"]
