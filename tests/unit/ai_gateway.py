"""A cluster, as kubectl shows it, where Envoy AI Gateway leads all names of models to NIM."""

import json
from pathlib import Path
from typing import Any

from tests.unit.fake_kubectl import FakeKubectl
from tests.unit.operations import healthy_cluster as h

ROUTES, SERVICES = "aigatewayroutes.aigateway.envoyproxy.io", "aiservicebackends.aigateway.envoyproxy.io"
BACKENDS = "backends.gateway.envoyproxy.io"
KINDS = {**h.KINDS, ROUTES: "AIGatewayRoute", SERVICES: "AIServiceBackend", BACKENDS: "Backend"}
PARENT = {"kind": "Gateway", "name": "nemo", "namespace": "nemo-gateway", "sectionName": "http"}
REST = {"backendRefs": [{"name": "to-llama"}], "timeouts": {"request": "3600s"}}


def route(name: str, *rules: Any, **metadata: Any) -> h.Object:
    """Return an AIGatewayRoute."""
    spec = {"parentRefs": [PARENT], "hostnames": ["nim.example.com"], "rules": list(rules)}
    about = {"uid": f"uid-of-{name}", **metadata}
    return h.thing(
        "AIGatewayRoute", name, "llama", apiVersion="aigateway.envoyproxy.io/v1beta1", metadata=about, spec=spec
    )


def rule_for(model: str, **header: str) -> h.Object:
    """Return a rule of somebody else for a model."""
    match = {"headers": [{"name": "x-ai-eg-model", "value": model, **header}]}
    return {"matches": [match], "backendRefs": [{"name": "theirs"}]}


def backend(name: str, host: str) -> list[h.Object]:
    """Return a Backend and the AIServiceBackend over it, of one name."""
    reference = {"group": "gateway.envoyproxy.io", "kind": "Backend", "name": name}
    return [
        h.thing("Backend", name, "llama", spec={"endpoints": [{"fqdn": {"hostname": host, "port": 8000}}]}),
        h.thing("AIServiceBackend", name, "llama", spec={"schema": {"name": "OpenAI"}, "backendRef": reference}),
    ]


TO_NIM = backend("to-llama", "llama.llama.svc.cluster.local")
ENTRY = route("host-nim-models", REST)


def kubectl_of(folder: Path) -> FakeKubectl:
    """Return a kubectl of such a cluster."""
    kubectl = FakeKubectl(folder)
    kubectl.write("kinds.json", KINDS)
    kubectl.write("api-resources.txt", f"pods\nservices\n{ROUTES}\n{SERVICES}\n{BACKENDS}\n")
    kubectl.write("objects.json", [ENTRY, *TO_NIM])
    return kubectl


def routes(kubectl: FakeKubectl) -> dict[str, h.Object]:
    """Return the AIGatewayRoutes that are there, by name."""
    objects: list[h.Object] = json.loads((kubectl.folder / "objects.json").read_text())
    return {one["metadata"]["name"]: one for one in objects if one["kind"] == "AIGatewayRoute"}
