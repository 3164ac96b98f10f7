"""Operators that the stand-in charts do not bring: they answer a custom resource as the real operator would, roughly.

Simulated, so that what waits for an operator's verdict can be tested: NIM operator, CloudNativePG, cert-manager,
Gateway API, and the load balancers of a cloud. Each acts on its kinds as soon as they exist. What a resource leads to
is made as real objects, owned by it (a NIMService's Deployment needs its GPUs, a Cluster's servers their volumes), and
the verdict follows those: a NIM without a free GPU is not Ready. Nothing is validated, no data, no certificate is real.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from simulator.api import Api, ApiError, Object

MANAGER = "simulated-operators"
GENERATION = "simulated.nemostack.dev/generation"
ADDRESS = "192.0.2.10"  # of a block that is reserved for documentation
Key = tuple[str, str, str]
"""Collection, namespace, name."""


@dataclass
class Round:
    """What is there in one look of the operators: each collection is read once."""

    api: Api
    groups: set[str]
    changed: bool = False
    _read: dict[str, dict[tuple[str, str], Object]] = field(default_factory=dict)

    def collection(self, path: str) -> dict[tuple[str, str], Object]:
        """Return the objects of a collection by namespace and name; none if the API does not know it."""
        if path not in self._read:
            group = path.split("/")[2]
            items = self.api.items(path) if group in self.groups or path.startswith("/api/") else []
            self._read[path] = {(it["metadata"].get("namespace", ""), it["metadata"]["name"]): it for it in items}
        return self._read[path]

    def child(self, owner: Object, path: str, kind: str, name: str, body: Object) -> Object:
        """Return the child `name` of `owner`, made or changed first if it is not of the owner's present generation."""
        namespace, metadata = owner["metadata"]["namespace"], owner["metadata"]
        generation = str(metadata.get("generation", 1))
        found = self.collection(path).get((namespace, name))
        if found and found["metadata"].get("annotations", {}).get(GENERATION) == generation:
            return found
        version = path.removeprefix("/apis/").removeprefix("/api/").rsplit("/", 1)
        reference = {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "controller": True,
        }
        whole = body | {
            "apiVersion": version[0],
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": namespace,
                "annotations": {GENERATION: generation},
                "ownerReferences": [reference],
            },
        }
        self.changed = True
        return self.api.apply(f"{at(path, namespace)}/{name}", whole, MANAGER)

    def status(self, path: str, thing: Object, status: Object) -> None:
        """Give `thing` a status, if it has another."""
        now = thing.get("status", {})
        if all(now.get(key) == value for key, value in status.items()):
            return
        metadata = thing["metadata"]
        self.api.patch(f"{at(path, metadata.get('namespace'))}/{metadata['name']}/status", {"status": status})
        self.changed = True


def at(collection: str, namespace: str | None) -> str:
    """Path of a collection in one namespace."""
    head, plural = collection.rsplit("/", 1)
    return f"{head}/namespaces/{namespace}/{plural}" if namespace else collection


def condition(kind: str, true: bool = True) -> Object:
    """Return a condition as every operator writes it. Its time stands still, so that it changes only once."""
    return {
        "type": kind,
        "status": str(true),
        "reason": "Simulated",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


def container(image: str, resources: Object | None = None, **more: Any) -> Object:
    """Return the one container of a pod."""
    return {"name": "main", "image": image, "resources": resources or {}, **more}


RESTRICTED_POD: Object = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
}
RESTRICTED_CONTAINER: Object = {
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}


def claim(size: str, mode: str, storage_class: str | None) -> Object:
    """Return the spec of a PersistentVolumeClaim."""
    chosen = {"storageClassName": storage_class} if storage_class else {}
    return {"accessModes": [mode], "resources": {"requests": {"storage": size}}, **chosen}


# --- NIM operator -------------------------------------------------------------------------------------------------

NIM_CACHES = "/apis/apps.nvidia.com/v1alpha1/nimcaches"
NIM_SERVICES = "/apis/apps.nvidia.com/v1alpha1/nimservices"
CLAIMS = "/api/v1/persistentvolumeclaims"
SERVICES = "/api/v1/services"
JOBS = "/apis/batch/v1/jobs"
DEPLOYMENTS = "/apis/apps/v1/deployments"
STATEFUL_SETS = "/apis/apps/v1/statefulsets"


def nim_cache(seen: Round, cache: Object) -> Object:
    """A volume, unless one is named, and a Job that would download; Ready when the Job is complete."""
    name, spec = cache["metadata"]["name"], cache["spec"]
    volume = spec.get("storage", {}).get("pvc", {})
    if volume.get("create"):
        body = claim(volume["size"], volume.get("volumeAccessMode", "ReadWriteOnce"), volume.get("storageClass"))
        seen.child(cache, CLAIMS, "PersistentVolumeClaim", volume.get("name") or f"{name}-pvc", {"spec": body})
    source: Object = next(iter(spec.get("source", {}).values()), {})
    pod = {
        "restartPolicy": "Never",
        "containers": [container(source.get("modelPuller", "none.invalid/puller"))],
        "tolerations": spec.get("tolerations", []),
        "nodeSelector": spec.get("nodeSelector", {}),
    }
    job = seen.child(cache, JOBS, "Job", f"{name}-job", {"spec": {"template": {"spec": pod}}})
    return {"state": "Ready" if job.get("status", {}).get("succeeded") else "InProgress"}


def nim_service(seen: Round, service: Object) -> Object:
    """A Service, and when the cache is Ready a Deployment with the GPUs; Ready when all its replicas are."""
    name, spec = service["metadata"]["name"], service["spec"]
    cache = spec.get("storage", {}).get("nimCache", {}).get("name")
    there = seen.collection(NIM_CACHES).get((service["metadata"]["namespace"], cache))
    exposed = spec.get("expose", {}).get("service", {})
    labels = {"app": name}
    port = {"name": "api", "port": exposed.get("port", 8000)}
    seen.child(
        service, SERVICES, "Service", exposed.get("name") or name, {"spec": {"selector": labels, "ports": [port]}}
    )
    if cache and (there or {}).get("status", {}).get("state") != "Ready":
        return {"state": "Pending"}
    image = f"{spec['image']['repository']}:{spec['image']['tag']}"
    pod = {
        "containers": [container(image, spec.get("resources"), env=spec.get("env", []))],
        "tolerations": spec.get("tolerations", []),
        "nodeSelector": spec.get("nodeSelector", {}),
    }
    wanted = spec.get("replicas", spec.get("scale", {}).get("hpa", {}).get("minReplicas", 1))
    body = {
        "replicas": wanted,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    deployment = seen.child(service, DEPLOYMENTS, "Deployment", name, {"spec": body})
    return {"state": "Ready" if rolled_out(deployment, "updatedReplicas", wanted) else "NotReady"}


def rolled_out(workload: Object, counter: str, wanted: int) -> bool:
    """Whether a workload's controller has seen its spec, and all replicas are of that spec and ready."""
    status = workload.get("status", {})
    return bool(
        status.get("observedGeneration") == workload["metadata"]["generation"]
        and status.get(counter, 0) == wanted
        and status.get("readyReplicas", 0) >= wanted
    )


# --- CloudNativePG ------------------------------------------------------------------------------------------------

POSTGRES = "/apis/postgresql.cnpg.io/v1/clusters"
DATABASES = "/apis/postgresql.cnpg.io/v1/databases"


def postgres(seen: Round, cluster: Object) -> Object:
    """Services -rw, -ro and -r, and as many servers with a volume each; Ready when all servers are."""
    name, spec = cluster["metadata"]["name"], cluster["spec"]
    labels = {"cnpg.io/cluster": name}
    for suffix in ("rw", "ro", "r"):
        body = {"spec": {"selector": labels, "ports": [{"name": "postgres", "port": 5432}]}}
        seen.child(cluster, SERVICES, "Service", f"{name}-{suffix}", body)
    storage = spec["storage"]
    wanted = spec.get("instances", 1)
    server = container(spec.get("imageName", "none.invalid/postgres"), spec.get("resources"), **RESTRICTED_CONTAINER)
    pod = {**RESTRICTED_POD, "containers": [server]}  # as the real operator makes them
    template = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "pgdata"},
        "spec": claim(storage["size"], "ReadWriteOnce", storage.get("storageClass")),
    }
    stateful = {
        "replicas": wanted,
        "serviceName": f"{name}-r",
        "podManagementPolicy": "Parallel",
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"},
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
        "volumeClaimTemplates": [template],
    }
    servers = seen.child(cluster, STATEFUL_SETS, "StatefulSet", name, {"spec": stateful})
    ready = rolled_out(servers, "replicas", wanted)
    return {"conditions": [condition("Ready", ready)], "readyInstances": wanted if ready else 0}


def database(seen: Round, made: Object) -> Object:
    """Applied when its cluster is Ready."""
    cluster = seen.collection(POSTGRES).get((made["metadata"]["namespace"], made["spec"]["cluster"]["name"]), {})
    conditions = cluster.get("status", {}).get("conditions", [])
    return {"applied": any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)}


# --- certificates, routes, load balancers --------------------------------------------------------------------------


def certificate(seen: Round, wanted: Object) -> Object:
    """A Secret of the right shape with no certificate in it."""
    text = dict.fromkeys(("tls.crt", "tls.key", "ca.crt"), "simulated")
    secret = {"type": "kubernetes.io/tls", "stringData": text}
    seen.child(wanted, "/api/v1/secrets", "Secret", wanted["spec"]["secretName"], secret)
    return ready(seen, wanted)


def ready(_seen: Round, _thing: Object) -> Object:
    """Ready at once."""
    return {"conditions": [condition("Ready")]}


def accepted(_seen: Round, _thing: Object) -> Object:
    """Accepted at once."""
    return {"conditions": [condition("Accepted")]}


def gateway(_seen: Round, _gateway: Object) -> Object:
    """Programmed at once, with an address."""
    address = {"type": "IPAddress", "value": ADDRESS}
    return {"conditions": [condition("Accepted"), condition("Programmed")], "addresses": [address]}


def load_balanced(_seen: Round, thing: Object) -> Object | None:
    """An address for a Service that asks for one, and for every Ingress."""
    if thing["spec"].get("type", "LoadBalancer") != "LoadBalancer":
        return None
    ports = thing.get("status", {}).get("loadBalancer", {}).get("ingress")
    return None if ports else {"loadBalancer": {"ingress": [{"ip": ADDRESS}]}}


KINDS = {
    NIM_CACHES: nim_cache,
    NIM_SERVICES: nim_service,
    POSTGRES: postgres,
    DATABASES: database,
    "/apis/cert-manager.io/v1/issuers": ready,
    "/apis/cert-manager.io/v1/clusterissuers": ready,
    "/apis/cert-manager.io/v1/certificates": certificate,
    "/apis/gateway.networking.k8s.io/v1/gatewayclasses": accepted,
    "/apis/gateway.networking.k8s.io/v1/gateways": gateway,
    SERVICES: load_balanced,
    "/apis/networking.k8s.io/v1/ingresses": load_balanced,
}


class Operators:
    """All of them, one look after the other."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def once(self) -> bool:
        """Bring every resource one step further; whether there was any to take."""
        groups = {group["name"] for group in self._api.get("/apis")["groups"]}
        seen = Round(self._api, groups)
        failed = None
        for path, thing in self._things(seen):
            try:
                if status := KINDS[path](seen, thing):
                    seen.status(path, thing, status)
            except ApiError as error:  # one that is being deleted must not hold up the others
                failed = error
        if failed:
            raise failed
        return seen.changed

    def _things(self, seen: Round) -> Iterator[tuple[str, Object]]:
        for path in KINDS:
            try:
                things = list(seen.collection(path).values())
            except ApiError as error:
                if error.code != 404:  # a group that lacks this kind
                    raise
                continue
            for thing in things:
                if "deletionTimestamp" not in thing["metadata"]:
                    yield path, thing
