"""A small cluster on which the stack is well, as kubectl would print it: written by hand in the API's shapes.

Two nodes of a pool with GPUs, one without; Data Store, Entity Store, Customizer, Evaluator, MLflow and a NIM; policies,
a route, volumes, Secrets. Tests break one thing and look what the doctor says.
"""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from nemostack.outputs import ClusterOutputs, StackOutputs
from operations.cluster_snapshot import ALWAYS, IF_SERVED, SecretFacts, Snapshot, Tail, secret_facts
from operations.helm_releases import Release

Object = dict[str, Any]
KINDS = {
    "nodes": "Node",
    "namespaces": "Namespace",
    "persistentvolumes": "PersistentVolume",
    "pods": "Pod",
    "storageclasses.storage.k8s.io": "StorageClass",
    "events": "Event",
    "services": "Service",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": "MutatingWebhookConfiguration",
    "validatingwebhookconfigurations.admissionregistration.k8s.io": "ValidatingWebhookConfiguration",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "endpointslices.discovery.k8s.io": "EndpointSlice",
    "jobs.batch": "Job",
    "deployments.apps": "Deployment",
    "statefulsets.apps": "StatefulSet",
    "daemonsets.apps": "DaemonSet",
    "networkpolicies.networking.k8s.io": "NetworkPolicy",
    "ingresses.networking.k8s.io": "Ingress",
    "gatewayclasses.gateway.networking.k8s.io": "GatewayClass",
    "gateways.gateway.networking.k8s.io": "Gateway",
    "httproutes.gateway.networking.k8s.io": "HTTPRoute",
    "backendtrafficpolicies.gateway.envoyproxy.io": "BackendTrafficPolicy",
    "aigatewayroutes.aigateway.envoyproxy.io": "AIGatewayRoute",
    "nimservices.apps.nvidia.com": "NIMService",
    "nimcaches.apps.nvidia.com": "NIMCache",
    "nemotrainingjobs.nvidia.com": "NemoTrainingJob",
    "podgroups.scheduling.volcano.sh": "PodGroup",
    "certificates.cert-manager.io": "Certificate",
    "clusters.postgresql.cnpg.io": "Cluster",
    "customresourcedefinitions.apiextensions.k8s.io": "CustomResourceDefinition",
}
"""Resource as kubectl is asked for it -> kind."""


NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
NIM_IMAGE = "nvcr.io/nim/meta/llama-3.2-3b-instruct:1.8.3"
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
# key -> namespace, Service, port, target port
SERVICES = {
    "data_store": ("nemo-datastore", "nemo-data-store", 3000, 3000),
    "entity_store": ("nemo-entity-store", "nemo-entity-store", 8000, 8000),
    "customizer": ("nemo-customizer", "nemo-customizer", 8000, 9009),
    "evaluator": ("nemo-evaluator", "nemo-evaluator", 7331, 7332),
    "nim": ("llama", "llama", 8000, 8000),
    "mlflow": ("mlflow", "mlflow-tracking", 80, 5000),
}
NAMESPACES = [address[0] for address in SERVICES.values()]
PREFIXES = {
    "/v1/datasets": "entity_store",
    "/v1/models": "entity_store",
    "/v1/customization": "customizer",
    "/v1/evaluation": "evaluator",
}


def cluster_outputs(**changes: Any) -> ClusterOutputs:
    """What the outputs say of the cluster."""
    values: dict[str, Any] = {
        "kubeconfig": None,
        "context": None,
        "namespaces": NAMESPACES,
        "services": {key: f"{a[0]}/{a[1]}:{a[2]}" for key, a in SERVICES.items()},
        "prefixes": PREFIXES,
        "secrets": {
            "llama": ["nvcrimagepullsecret", "ngc-api"],
            "nemo-customizer": ["nvcrimagepullsecret", "hf-token"],
        },
        "nims": {"llama": "llama"},
        **changes,
    }
    return ClusterOutputs.model_validate(values)


def outputs(cluster: ClusterOutputs | None = None, **changes: Any) -> StackOutputs:
    """Outputs of a stack without routes."""
    keys = ("nemo_url", "data_store_url", "nim_url", "mlflow_url")
    values: dict[str, Any] = {
        "target": "existing",
        **{key: f"http://127.0.0.1:{18080 + n}" for n, key in enumerate(keys)},
        "nim_internal_url": "http://llama.llama.svc.cluster.local:8000",
        "judge_url": "http://llama.llama.svc.cluster.local:8000",
        "judge_model": "meta/llama-3.2-3b-instruct",
        "base_model": "meta/llama-3.2-3b-instruct",
        "customization_config": "meta/llama-3.2-3b-instruct@v1.0.0+40GB",
        "log_commands": {},
        "cluster": cluster or cluster_outputs(),
        **changes,
    }
    return StackOutputs.model_validate(values)


def stamp(minutes_ago: float) -> str:
    """A timestamp of the API."""
    return (NOW - timedelta(minutes=minutes_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


def thing(kind: str, name: str, namespace: str | None = None, **parts: Any) -> Object:
    """An object; `parts` are its top-level keys."""
    meta = {"name": name, "creationTimestamp": stamp(60), **parts.pop("metadata", {})}
    return {"kind": kind, "metadata": meta | ({"namespace": namespace} if namespace else {}), **parts}


def event(about: Object, reason: str, message: str, kind: str = "Warning") -> Object:
    """An event about an object."""
    meta = about["metadata"]
    involved = {"kind": about["kind"], "namespace": meta.get("namespace", ""), "name": meta["name"]}
    name = f"{meta['name']}.{reason.lower()}"
    return thing(
        "Event",
        name,
        meta.get("namespace", "default"),
        involvedObject=involved,
        reason=reason,
        message=message,
        type=kind,
        count=3,
    )


def node(name: str, gpus: int) -> Object:
    """A node that is ready."""
    labels = {"nvidia.com/gpu.present": "true", "feature.node.kubernetes.io/pci-10de.present": "true"} if gpus else {}
    resources = {"cpu": "32", "memory": "256Gi", **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    return thing(
        "Node",
        name,
        metadata={"labels": labels},
        spec={"taints": [GPU_TAINT] if gpus else []},
        status={"allocatable": resources, "conditions": [{"type": "Ready", "status": "True", "message": "ready"}]},
    )


def pod(key: str, gpus: int = 0, **spec: Any) -> Object:
    """A pod that runs."""
    namespace, service, _port, target = SERVICES[key]
    container: Object = {"name": "main", "image": f"nvcr.io/nvidia/nemo-microservices/{key}:25.12"}
    if gpus:
        container |= {"image": NIM_IMAGE, "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
        container["env"] = [{"name": "NIM_PEFT_SOURCE", "value": url("entity_store")}]
    container["ports"] = [{"containerPort": target}]
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}] if gpus else []
    status = {
        "phase": "Running",
        "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}],
        "containerStatuses": [
            {"name": "main", "image": container["image"], "restartCount": 0, "state": {"running": {}}, "lastState": {}}
        ],
    }
    return thing(
        "Pod",
        f"{service}-0",
        namespace,
        metadata={"labels": {"app": service}},
        spec={
            "containers": [container],
            "nodeName": "n0",
            "tolerations": tolerations,
            "imagePullSecrets": [{"name": "nvcrimagepullsecret"}],
            **spec,
        },
        status=status,
    )


def url(key: str) -> str:
    """In-cluster URL of a service."""
    namespace, service, port, _target = SERVICES[key]
    return f"http://{service}.{namespace}.svc.cluster.local:{port}"


def behind(key: str) -> list[Object]:
    """Service, EndpointSlice, pod and workload."""
    namespace, service, port, target = SERVICES[key]
    made = pod(key, gpus=1 if key == "nim" else 0)
    if key == "mlflow":
        hosts = "mlflow-tracking.mlflow.svc.cluster.local:*,mlflow-tracking.mlflow,localhost:*"
        made["spec"]["containers"][0]["env"] = [{"name": "MLFLOW_SERVER_ALLOWED_HOSTS", "value": hosts}]
    template = {"spec": {"containers": made["spec"]["containers"]}}
    endpoint = {"conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": made["metadata"]["name"]}}
    return [
        made,
        thing(
            "Service",
            service,
            namespace,
            spec={
                "type": "ClusterIP",
                "clusterIP": "10.96.0.7",
                "ports": [{"port": port, "targetPort": target}],
            },
        ),
        thing(
            "EndpointSlice",
            f"{service}-x",
            namespace,
            metadata={"labels": {"kubernetes.io/service-name": service}},
            endpoints=[endpoint],
            ports=[{"port": target, "protocol": "TCP"}],
        ),
        thing(
            "Deployment", service, namespace, spec={"replicas": 1, "template": template}, status={"readyReplicas": 1}
        ),
    ]


def policies(namespace: str) -> list[Object]:
    """Default deny, with the ways the stack needs."""
    dns = {"to": [{"namespaceSelector": {}}], "ports": [{"port": 53, "protocol": p} for p in ("UDP", "TCP")]}
    mlflow = {
        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "mlflow"}}}],
        "ports": [{"port": 5000, "protocol": "TCP"}],
    }
    inward = {
        "from": [
            {
                "namespaceSelector": {
                    "matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": NAMESPACES}]
                }
            }
        ]
    }
    everyone = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    return [
        thing("NetworkPolicy", "default-deny", namespace, spec=dict(everyone)),
        thing("NetworkPolicy", "allow", namespace, spec={**everyone, "ingress": [inward], "egress": [dns, mlflow]}),
    ]


def claim(name: str, namespace: str, **spec: Any) -> Object:
    """A volume that is bound."""
    whole = {"storageClassName": "standard", "accessModes": ["ReadWriteOnce"], "volumeName": f"pv-{name}", **spec}
    return thing("PersistentVolumeClaim", name, namespace, spec=whole, status={"phase": "Bound"})


def webhook(name: str = "admission.volcano.sh", service: str = "volcano-admission") -> Object:
    """A webhook that blocks when it is dead."""
    client = {"service": {"namespace": "volcano-system", "name": service}, "caBundle": "Q0E="}
    hook = {"name": f"mutatepod.{name}", "failurePolicy": "Fail", "clientConfig": client}
    return thing("MutatingWebhookConfiguration", name, webhooks=[hook])


def route(accepted: str = "True") -> Object:
    """An HTTPRoute."""
    parent = {
        "conditions": [
            {"type": "Accepted", "status": accepted, "reason": "NotAllowedByListeners", "message": "no listener"},
            {"type": "ResolvedRefs", "status": "True", "reason": "ResolvedRefs"},
        ]
    }
    spec = {
        "parentRefs": [{"name": "nemo"}],
        "rules": [
            {"timeouts": {"request": "0s"}, "backendRefs": [{"name": "nemo-data-store", "port": 3000}]},
            {"filters": [{"type": "ExtensionRef"}]},  # an answer of the gateway's own needs no time
        ],
    }
    return thing("HTTPRoute", "nemo", "nemo-datastore", spec=spec, status={"parents": [parent]})


def gateway() -> Object:
    """A Gateway with an address."""
    conditions = [{"type": kind, "status": "True"} for kind in ("Accepted", "Programmed")]
    status = {"conditions": conditions, "addresses": [{"value": "10.0.0.9"}]}
    return thing("Gateway", "nemo", "nemo-datastore", spec={"gatewayClassName": "envoy"}, status=status)


def objects() -> list[Object]:
    found = [node("n0", 0), node("g0", 2), node("g1", 2)]
    found += [
        thing("Namespace", n, spec={"finalizers": ["kubernetes"]}, status={"phase": "Active"}) for n in NAMESPACES
    ]
    for key in SERVICES:
        found += behind(key)
    for namespace in NAMESPACES:
        found += policies(namespace)
    found += [
        thing(
            "StorageClass",
            "standard",
            provisioner="pd.csi.storage.gke.io",
            metadata={"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        ),
        claim("datastore-shared-storage", "nemo-datastore"),
        thing("GatewayClass", "envoy", spec={"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"}),
        gateway(),
        route(),
        webhook(),
        thing("Service", "volcano-admission", "volcano-system", spec={"ports": [{"port": 443}]}),
        thing(
            "EndpointSlice",
            "volcano-admission-x",
            "volcano-system",
            metadata={"labels": {"kubernetes.io/service-name": "volcano-admission"}},
            endpoints=[{"conditions": {"ready": True}}],
        ),
        thing(
            "DaemonSet",
            "nvidia-device-plugin-daemonset",
            "gpu-operator",
            status={"desiredNumberScheduled": 2, "numberReady": 2},
        ),
        thing("NIMCache", "llama", "llama", status={"state": "Ready"}),
        thing("PodGroup", "done", "nemo-customizer", spec={"minMember": 1}, status={"phase": "Running"}),
    ]
    return found


def secret(name: str, namespace: str, kind: str = "Opaque", **data: str) -> Object:
    """A Secret as the API has it."""
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return thing("Secret", name, namespace, type=kind, data=encoded)


def pull_secret(namespace: str, user: str = "$oauthtoken", registry: str = "nvcr.io") -> Object:
    """A pull secret, its login in `auth` only, as kubectl writes it."""
    login = {"auth": base64.b64encode(f"{user}:very-secret".encode()).decode()}
    config = json.dumps({"auths": {registry: login}})
    return secret("nvcrimagepullsecret", namespace, "kubernetes.io/dockerconfigjson", **{".dockerconfigjson": config})


def secrets() -> list[Object]:
    """Those that the outputs name."""
    return [
        pull_secret("llama"),
        secret("ngc-api", "llama", NGC_API_KEY="very-secret"),
        pull_secret("nemo-customizer"),
        secret("hf-token", "nemo-customizer", HF_TOKEN="very-secret"),  # noqa: S106
    ]


def snapshot(found: list[Object] | None = None, **changes: Any) -> Snapshot:
    """The cluster as a look at it."""
    facts: tuple[SecretFacts, ...] = tuple(secret_facts(one) for one in secrets())
    values: dict[str, Any] = {
        "outputs": outputs(),
        "taken": NOW,
        "version": "v1.33.4",
        "served": frozenset((*ALWAYS, *IF_SERVED)),
        "objects": tuple(objects() if found is None else found),
        "secrets": facts,
        "releases": (Release(namespace="nemo-datastore", name="nemo", status="deployed", revision=1),),
        "tails": (Tail("mlflow", "mlflow-tracking-0", "main", "INFO: started"),),
        **changes,
    }
    return Snapshot(**values)
