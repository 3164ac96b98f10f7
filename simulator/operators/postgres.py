"""CloudNativePG: servers with a volume each and three Services for a Cluster, a verdict for a Database."""

from simulator.api import Object
from simulator.operators.rounds import (
    RESTRICTED_CONTAINER,
    RESTRICTED_POD,
    SERVICES,
    STATEFUL_SETS,
    Round,
    claim,
    condition,
    container,
    rolled_out,
)

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
