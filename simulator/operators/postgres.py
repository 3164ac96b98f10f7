"""CloudNativePG: servers with a volume each, Services and Secrets for a Cluster, a verdict for a Database.

From the source of v1.30.0. A managed role is made only when its Secret is there and says the role's own name
(`internal/management/controller/roles`: getPassword); what cannot be made is pending in `managedRolesStatus`. A
Database whose owner is no role is not applied, as Postgres refuses it (`internal/management/controller`:
database_controller.go). The webhook's refusals are a ValidatingAdmissionPolicy of the stand-in chart.
"""

import base64

from simulator.api import Object
from simulator.operators.rounds import (
    RESTRICTED_CONTAINER,
    RESTRICTED_POD,
    SECRETS,
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
    for suffix in OWN_SECRETS:
        seen.child(cluster, SECRETS, "Secret", f"{name}-{suffix}", {"stringData": {"simulated": "true"}})
    ready = rolled_out(servers, "replicas", wanted)
    status: Object = {"conditions": [condition("Ready", ready)], "readyInstances": wanted if ready else 0}
    if image := spec.get("imageName"):
        status["pgDataImageInfo"] = {"image": image, "majorVersion": major_version(image)}
    return status | {"managedRolesStatus": reconcile_roles(seen, cluster)} if ready else status


OWN_SECRETS = ("app", "ca", "replication", "server")
"""Secrets that the operator makes for each Cluster, behind its name."""
OWN_ROLES = ("app", "postgres")


def major_version(image: str) -> int:
    """Return 17 for `.../postgresql:17.6-standard`; 0 for a tag that is no version."""
    version = image.rpartition(":")[2].partition(".")[0].partition("-")[0]
    return int(version) if version.isdecimal() else 0


def reconcile_roles(seen: Round, cluster: Object) -> Object:
    """Return which managed roles the servers have, and which cannot be made."""
    namespace = cluster["metadata"]["namespace"]
    states: dict[str, list[str]] = {"reconciled": [], "pending-reconciliation": []}
    for role in cluster["spec"].get("managed", {}).get("roles", []):
        reference = role.get("passwordSecret")
        secret = seen.secrets.get((namespace, reference["name"]), {}) if reference else None
        done = secret is None or text_in(secret, "username") == role["name"]
        states["reconciled" if done else "pending-reconciliation"].append(role["name"])
    return {"byStatus": states}


def text_in(secret: Object, key: str) -> str:
    """Return a text of a Secret, empty if it does not have it."""
    return base64.b64decode(secret.get("data", {}).get(key, "")).decode().strip()


def database(seen: Round, made: Object) -> Object:
    """Applied when its cluster is Ready and its owner is a role there."""
    spec = made["spec"]
    cluster = seen.collection(POSTGRES).get((made["metadata"]["namespace"], spec["cluster"]["name"]), {})
    status = cluster.get("status", {})
    if not any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", [])):
        return {"applied": False}
    roles = {*OWN_ROLES, *status.get("managedRolesStatus", {}).get("byStatus", {}).get("reconciled", [])}
    if spec["owner"] not in roles:
        message = (
            f'while creating database "{spec["name"]}": ERROR: role "{spec["owner"]}" does not exist (SQLSTATE 42704)'
        )
        return {"applied": False, "message": message}
    return {"applied": True} | ({"message": ""} if made.get("status", {}).get("message") else {})
