"""Is what the stack should have there and ready? Each look yields `ok` facts as well as what is wrong."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from infra.names import (
    GPU_RESOURCE,
    HF_KEY,
    HF_SECRET,
    MIG_RESOURCE_PREFIX,
    NEMO_PLATFORM_MODELS,
    NGC_KEY,
    NGC_REGISTRY,
    NGC_SECRET,
    NGC_USER,
    PULL_SECRET,
)
from nemostack.kubectl.client import Object
from operations.cluster_snapshot import Snapshot, parse_address
from operations.doctor.check import Check, Evidence, brief, condition, finished, ident
from operations.helm_releases import Identity, missing

# What the stack's well-known Secrets must look like; of others only that they are there.
DOCKER_CONFIG = "kubernetes.io/dockerconfigjson"
REFRESH = "`pulumi refresh` and `pulumi up` (docs/operations.md)"
LISTENING = ("Accepted", "ResolvedRefs", "Programmed")
"""Conditions of a Gateway's listener without which it does not serve."""
HELD = ("Deployment", "StatefulSet", "DaemonSet", "Service", "PersistentVolumeClaim")
"""Kinds of a release that somebody would miss, and that a snapshot holds."""
EXPECTED = {
    PULL_SECRET: (DOCKER_CONFIG, ".dockerconfigjson"),
    NGC_SECRET: ("Opaque", NGC_KEY),
    HF_SECRET: ("Opaque", HF_KEY),
}


def _version(snapshot: Snapshot) -> Iterator[Evidence]:
    yield Evidence("cluster", f"Kubernetes {snapshot.version}", "ok")
    for gap in snapshot.gaps:
        yield Evidence("cluster", brief(gap), "warn", "checks that need this say nothing; ask for the right to list it")


def _nodes(snapshot: Snapshot) -> Iterator[Evidence]:
    nodes = snapshot.all("Node")
    ready = 0
    for node in nodes:
        state = condition(node, "Ready")
        ready += state.get("status") == "True"
        if state.get("status") != "True":
            yield Evidence(ident(node), f"not Ready: {brief(state.get('message', 'no word from its kubelet'))}")
        for kind in ("DiskPressure", "MemoryPressure", "PIDPressure"):
            if condition(node, kind).get("status") == "True":
                yield Evidence(ident(node), f"{kind}: {brief(condition(node, kind).get('message', ''))}", "warn")
    if nodes:
        yield Evidence("cluster", f"{ready} of {len(nodes)} nodes ready", "ok" if ready == len(nodes) else "warn")


def gpus(resources: dict[str, str] | None) -> int:
    """Count GPUs, or slices of them, in a map of resources."""
    return sum(
        int(count)
        for name, count in (resources or {}).items()
        if (name == GPU_RESOURCE or name.startswith(MIG_RESOURCE_PREFIX)) and str(count).isdigit()
    )


def wanted_gpus(pod: Object) -> int:
    """GPUs that a pod asks for."""
    return sum(gpus(container.get("resources", {}).get("limits")) for container in pod["spec"]["containers"])


def _gpus(snapshot: Snapshot) -> Iterator[Evidence]:
    with_gpus = [node for node in snapshot.all("Node") if gpus(node["status"].get("allocatable"))]
    total = sum(gpus(node["status"].get("allocatable")) for node in with_gpus)
    used = sum(wanted_gpus(pod) for pod in snapshot.all("Pod") if pod["spec"].get("nodeName") and not finished(pod))
    text = f"{total} allocatable on {len(with_gpus)} nodes, {used} taken"
    needed = any(wanted_gpus(pod) for pod in snapshot.ours("Pod"))
    if snapshot.all("Node"):
        yield Evidence("cluster", text, "ok" if total else "bad" if needed else "warn")


def _secrets(snapshot: Snapshot) -> Iterator[Evidence]:
    known = {(secret.namespace, secret.name): secret for secret in snapshot.secrets}
    good = 0
    for namespace, names in snapshot.cluster.secrets.items():
        for name in names:
            where, secret = f"{namespace}/{name}", known.get((namespace, name))
            kind, key = EXPECTED.get(name, ("", ""))
            if secret is None:
                yield Evidence(where, "no such Secret in this namespace")
            elif kind and secret.kind != kind:
                yield Evidence(where, f"is of type {secret.kind}, expected {kind}")
            elif key and key not in secret.keys:
                yield Evidence(where, f"has keys {', '.join(sorted(secret.keys)) or 'none'}, expected {key}")
            elif name == PULL_SECRET and NGC_REGISTRY not in secret.logins:
                yield Evidence(
                    where, f"logs in to {', '.join(secret.logins) or 'no registry'}, expected {NGC_REGISTRY}"
                )
            elif name == PULL_SECRET and secret.logins[NGC_REGISTRY] != NGC_USER:
                user = secret.logins[NGC_REGISTRY] or "nobody"
                yield Evidence(where, f"logs in to {NGC_REGISTRY} as {user}, expected the literal {NGC_USER}")
            else:
                good += 1
    if good:
        yield Evidence("cluster", f"{good} Secrets present, of the right type and with their key", "ok")


def _volumes(snapshot: Snapshot) -> Iterator[Evidence]:
    claims = snapshot.ours("PersistentVolumeClaim")
    bound = [claim for claim in claims if claim["status"].get("phase") == "Bound"]
    for claim in claims:
        if claim["status"].get("phase") == "Lost":
            yield Evidence(ident(claim), f"lost its volume {claim['spec'].get('volumeName', '')}")
    if claims:
        yield Evidence(
            "cluster", f"{len(bound)} of {len(claims)} claims bound", "ok" if len(bound) == len(claims) else "warn"
        )


def _services(snapshot: Snapshot) -> Iterator[Evidence]:
    good = 0
    for key, address in snapshot.cluster.services.items():
        namespace, name, port = parse_address(address)
        service = snapshot.find("Service", namespace, name)
        if service is None:
            yield Evidence(f"{namespace}/{name}", f"no such Service, which the outputs name for {key}")
        elif port not in {one["port"] for one in service["spec"].get("ports") or []}:
            yield Evidence(f"{namespace}/{name}", f"has no port {port}, which the outputs name for {key}")
        elif service["spec"].get("type") != "ExternalName" and not snapshot.ready_addresses(namespace, name):
            yield Evidence(f"{namespace}/{name}", f"no ready pod behind the Service ({key})")
        else:
            good += 1
    if good:
        yield Evidence("cluster", f"{good} of {len(snapshot.cluster.services)} Services have ready pods", "ok")


def _routes(snapshot: Snapshot) -> Iterator[Evidence]:
    good = 0
    for gateway in snapshot.ours("Gateway"):
        missing = [kind for kind in ("Accepted", "Programmed") if condition(gateway, kind).get("status") != "True"]
        if missing:
            state = condition(gateway, missing[0])
            yield Evidence(ident(gateway), f"not {missing[0]}: {brief(state.get('message', 'no controller took it'))}")
        elif not gateway["status"].get("addresses"):
            yield Evidence(ident(gateway), "has no address yet: the load balancer is not there")
        elif broken := list(_broken_listeners(gateway)):
            yield from broken  # of which the Gateway's own conditions say nothing
        else:
            good += 1
    for route in snapshot.ours("HTTPRoute"):
        parents = (route.get("status") or {}).get("parents") or []
        refused = [
            one
            for parent in parents
            for one in parent.get("conditions", [])
            if one["type"] in {"Accepted", "ResolvedRefs"} and one["status"] != "True"
        ]
        if refused:
            yield Evidence(ident(route), f"{refused[0]['reason']}: {brief(refused[0].get('message', ''))}")
        elif not parents:
            yield Evidence(ident(route), "no Gateway took it: parentRefs, and allowedRoutes of the listener")
        else:
            good += 1
    for route in snapshot.ours("AIGatewayRoute"):
        conditions = (route.get("status") or {}).get("conditions") or []
        refused = [one for one in conditions if one["type"] == "NotAccepted"]  # it has one condition or the other
        if refused:
            yield Evidence(ident(route), f"not accepted: {brief(refused[0].get('message', ''))}")
        elif not conditions:
            yield Evidence(ident(route), "the controller of Envoy AI Gateway has not seen it")
        else:
            good += 1
    for ingress in snapshot.ours("Ingress"):
        if (ingress.get("status") or {}).get("loadBalancer", {}).get("ingress"):
            good += 1
        else:
            name = ingress["spec"].get("ingressClassName") or "none"
            yield Evidence(ident(ingress), f"has no address: no controller took it (ingressClassName {name})")
    if good:
        yield Evidence("cluster", f"{good} routes accepted and addressed", "ok")


def _broken_listeners(gateway: Object) -> Iterator[Evidence]:
    for listener in gateway["status"].get("listeners") or []:
        refused = [
            one for one in listener.get("conditions") or [] if one["type"] in LISTENING and one["status"] != "True"
        ]
        if refused:
            what = f"listener {listener['name']}: {refused[0]['reason']}: {brief(refused[0].get('message', ''))}"
            fix = (
                "the Secret with the certificate must exist in the Gateway's namespace: `kubectl describe certificate`"
            )
            yield Evidence(ident(gateway), what, fix=fix if refused[0]["reason"] == "InvalidCertificateRef" else "")


def _releases(snapshot: Snapshot) -> Iterator[Evidence]:
    releases = [release for release in snapshot.releases if release.namespace in snapshot.cluster.namespaces]
    good = [release for release in releases if release.status == "deployed"]
    for release in releases:
        if release not in good:
            where = f"{release.namespace}/{release.name}"
            fix = f"`{release.way_out}`, then {REFRESH}" if release.is_half_done else ""
            yield Evidence(where, f"Helm release is {release.status} (revision {release.revision})", fix=fix)
    if good:
        yield Evidence("cluster", f"{len(good)} Helm releases deployed", "ok")


def _held(snapshot: Snapshot) -> Iterator[Evidence]:
    """Objects that somebody deleted: neither a refresh nor `up` of Pulumi sees that."""
    there = {identity(thing) for kind in HELD for thing in snapshot.all(kind)}
    kinds = [kind for kind in HELD if snapshot.all(kind)]  # of a kind that may not be listed nothing is known
    looked_at = 0
    for release in snapshot.releases:
        held = snapshot.held.get((release.namespace, release.name))
        if release.namespace not in snapshot.cluster.namespaces or release.status != "deployed" or held is None:
            continue
        looked_at += 1
        for kind, namespace, name in missing(held, there, kinds):
            what = f"{kind} {name} of Helm release {release.name} (revision {release.revision}) is not there"
            yield Evidence(f"{namespace}/{name}", what, fix=f"`{release.repair}`, then {REFRESH}")
    if looked_at:
        yield Evidence("cluster", f"looked for the objects of {looked_at} Helm releases", "ok")


def identity(thing: Object) -> Identity:
    """Kind, namespace and name of an object that has a namespace."""
    return thing["kind"], thing["metadata"].get("namespace", ""), thing["metadata"]["name"]


def _workloads(snapshot: Snapshot) -> Iterator[Evidence]:
    good, total = 0, 0
    for kind in ("Deployment", "StatefulSet", "DaemonSet"):
        for thing in snapshot.ours(kind):
            status, total = thing.get("status") or {}, total + 1
            daemons = kind == "DaemonSet"
            desired = status.get("desiredNumberScheduled", 0) if daemons else thing["spec"].get("replicas", 1)
            ready = status.get("numberReady" if daemons else "readyReplicas", 0)
            good += ready >= desired
            if ready < desired:
                yield Evidence(ident(thing), f"{kind}: {ready} of {desired} pods ready")
    if total:
        yield Evidence("cluster", f"{good} of {total} workloads ready", "ok" if good == total else "warn")


def _nims(snapshot: Snapshot) -> Iterator[Evidence]:
    good = 0
    for kind in ("NIMService", "NIMCache"):
        for thing in snapshot.ours(kind):
            state = (thing.get("status") or {}).get("state", "")
            if state.lower() == "ready":
                good += 1
                continue
            failure = condition(thing, "Failed") or condition(thing, "Ready")
            yield Evidence(
                ident(thing), f"{kind} is {state or 'not looked at yet'}: {brief(failure.get('message', ''))}"
            )
    for job in snapshot.ours("Job"):
        failed = condition(job, "Failed")
        if job["metadata"]["name"] == NEMO_PLATFORM_MODELS and failed.get("status") == "True":
            fix = (
                f"`kubectl logs -n {job['metadata']['namespace']} job/{NEMO_PLATFORM_MODELS}` has the platform's words"
            )
            yield Evidence(ident(job), f"the NeMo Platform does not serve the NIMs: {failed.get('reason')}", fix=fix)
    for name, namespace in snapshot.cluster.nims.items():
        ready = snapshot.ready_addresses(namespace, name)
        if ready:
            good += 1
        else:
            yield Evidence(f"{namespace}/{name}", "no pod of this NIM is ready")
    if good:
        yield Evidence("cluster", f"{good} NIM objects ready", "ok")


def _internal_url(snapshot: Snapshot) -> Iterator[Evidence]:
    """The Evaluator runs in the cluster: the public host may not be reachable from there."""
    url = snapshot.outputs.nim_internal_url
    host = urlsplit(url).hostname or ""
    parts = host.split(".")
    if len(parts) < 3 or parts[2] != "svc":
        yield Evidence("nim_internal_url", f"{url} is no Service of this cluster", "warn")
    elif snapshot.find("Service", parts[1], parts[0]) is None and snapshot.all("Service"):
        yield Evidence("nim_internal_url", f"{url}: there is no Service {parts[1]}/{parts[0]}")


CHECKS = (
    Check(
        name="cluster",
        symptom="nothing works",
        look=_version,
        looks_at="version of the API server; objects that these credentials may not list",
        fix="check the kubeconfig and context in the stack's outputs; log in to the cloud again",
    ),
    Check(
        name="nodes",
        symptom="pods stay Pending or disappear",
        look=_nodes,
        looks_at="conditions Ready, DiskPressure, MemoryPressure, PIDPressure",
        fix="inspect the node (`kubectl describe node`); replace it, or give it a larger disk",
    ),
    Check(
        name="GPUs",
        symptom="NIMs and training jobs do not start",
        look=_gpus,
        looks_at="allocatable nvidia.com/gpu and MIG partitions of all nodes; those that running pods use",
        fix="add GPU nodes to a pool, or wait for the autoscaler; see `device plugin`",
    ),
    Check(
        name="Secrets",
        symptom="access to images, models or databases is denied",
        look=_secrets,
        looks_at="every Secret in the outputs: namespace, type, keys, registry and user of the pull secret",
        fix="set ngc_api_key (or the name of an existing Secret) in the stack's settings and run `pulumi up`; in a "
        "shell quote '$oauthtoken'",
    ),
    Check(
        name="volumes",
        symptom="pods wait for volumes",
        look=_volumes,
        looks_at="phase of every PersistentVolumeClaim",
        fix="see `volume pending`; restore a lost volume from your backup",
    ),
    Check(
        name="services",
        symptom="connection refused, HTTP 502 or 503",
        look=_services,
        looks_at="every Service in the outputs: whether it exists, has its port, has ready pods",
        fix="see the findings about its pods; of a missing Service see `release objects`",
    ),
    Check(
        name="routes",
        symptom="host names do not resolve or answer HTTP 404",
        look=_routes,
        looks_at="Gateways (Accepted, Programmed, address, listeners), HTTPRoutes (Accepted, ResolvedRefs), "
        "AIGatewayRoutes (Accepted), Ingresses (address)",
        fix="check that the controller of the class runs, and quota and subnet tags for its load balancer",
    ),
    Check(
        name="releases",
        symptom="an upgrade hangs or is rejected",
        look=_releases,
        looks_at="status of the latest revision of each Helm release",
        fix="failed: fix what its pods report, then `pulumi up`; pending-install: `helm uninstall`; pending-upgrade: "
        "`helm rollback` to the last deployed revision; then `pulumi refresh` and `pulumi up` (docs/operations.md)",
    ),
    Check(
        name="release objects",
        symptom="a Deployment or Service is gone, and `pulumi up` does not bring it back",
        look=_held,
        looks_at="Deployments, StatefulSets, DaemonSets, Services and claims in Helm's record of each deployed release",
        fix="`helm rollback` to the current revision, which makes them again; Pulumi does not look into releases "
        "(docs/operations.md)",
    ),
    Check(
        name="workloads",
        symptom="a service runs only partly",
        look=_workloads,
        looks_at="ready and desired pods of Deployments, StatefulSets and DaemonSets",
        fix="see the known failures; `kubectl describe` of the pod shows more",
    ),
    Check(
        name="NIMs",
        symptom="a NIM is not ready",
        look=_nims,
        looks_at="state of NIMService and NIMCache, the Job that tells the NeMo Platform of NIMs, ready pods behind "
        "each NIM's Service",
        fix="a first start downloads the weights and may take long; otherwise see the known failures",
    ),
    Check(
        name="NIM URL for the Evaluator",
        symptom="evaluations cannot reach NIM",
        look=_internal_url,
        looks_at="nim_internal_url in the outputs: whether the Service exists",
        fix="use the in-cluster URL http://NIM.NAMESPACE.svc.cluster.local:8000",
    ),
)
