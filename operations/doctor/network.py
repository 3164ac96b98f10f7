"""Checks of the network between services: network policies, host checks, adapters' source, limits of routes.

Policies are judged by their rules alone: whether the network plugin enforces them is not asked.
"""

import fnmatch
import ipaddress
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from nemostack.kubectl.client import Object
from operations.cluster_snapshot import Snapshot
from operations.doctor.check import Check, Evidence, brief, ident

ALLOWED_HOSTS = "MLFLOW_SERVER_ALLOWED_HOSTS"
PEFT_SOURCE = "NIM_PEFT_SOURCE"
DNS_NAMESPACE, NODE_LOCAL_DNS = "kube-system", "169.254.20.10"
UPLOADS = ("data_store", "mlflow")
QUICK = ("entity_store",)  # neither streams nor takes files
ENVOY = "gateway.envoyproxy.io/gatewayclass-controller"
_HOST_REFUSED = re.compile(r"Invalid Host header", re.IGNORECASE)


def selects(selector: Object | None, labels: dict[str, str]) -> bool:
    """Whether a label selector selects these labels; an empty one selects all, None nothing."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for one in selector.get("matchExpressions") or []:
        have, values = labels.get(one["key"]), one.get("values") or []
        fits = {
            "In": have in values,
            "NotIn": have not in values,
            "Exists": have is not None,
            "DoesNotExist": have is None,
        }
        if not fits[one["operator"]]:
            return False
    return True


def rules(snapshot: Snapshot, namespace: str, labels: dict[str, str], way: str) -> list[Object] | None:
    """Rules (`ingress` or `egress`) for a pod; None when no policy restricts it."""
    rules: list[Object] | None = None
    for policy in snapshot.all("NetworkPolicy"):
        spec = policy["spec"]
        kinds = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
        if policy["metadata"]["namespace"] != namespace or way.capitalize() not in kinds:
            continue
        if selects(spec.get("podSelector", {}), labels):
            rules = (rules or []) + (spec.get(way) or [])
    return rules


def has_port(rule: Object, ports: set[Any], protocol: str) -> bool:
    """Whether a rule covers one of `ports` (numbers and names)."""
    for one in rule.get("ports") or [{"protocol": protocol}]:
        if one.get("protocol", "TCP") != protocol:
            continue
        port, last = one.get("port"), one.get("endPort")
        if port is None or port in ports:
            return True
        if last and isinstance(port, int) and any(isinstance(p, int) and port <= p <= last for p in ports):
            return True
    return False


def has_peer(rule: Object, side: str, snapshot: Snapshot, namespace: str, address: str | None) -> bool:
    """Whether a rule (`to` or `from`) covers some pod of a namespace; pod selectors beside it are taken on trust."""
    peers = rule.get(side)
    if not peers:
        return True
    match = next((n for n in snapshot.all("Namespace") if n["metadata"]["name"] == namespace), None)
    labels = {"kubernetes.io/metadata.name": namespace, **((match or {}).get("metadata", {}).get("labels") or {})}
    for peer in peers:
        if "namespaceSelector" in peer and selects(peer["namespaceSelector"], labels):
            return True
        block = peer.get("ipBlock")
        if block and address:
            ip = ipaddress.ip_address(address)
            inside = ip in ipaddress.ip_network(block["cidr"])
            if inside and not any(ip in ipaddress.ip_network(part) for part in block.get("except") or []):
                return True
    return False


def _pods(snapshot: Snapshot, namespace: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Name and labels of what runs in a namespace, and of a pod without labels: jobs come later."""
    yield f"{namespace} (any pod)", {}
    for pod in snapshot.ours("Pod"):
        if pod["metadata"]["namespace"] == namespace:
            yield ident(pod), pod["metadata"].get("labels") or {}


def _dns(snapshot: Snapshot) -> Iterator[Evidence]:
    servers = [(one["metadata"]["namespace"], one["spec"].get("clusterIP")) for one in _dns_services(snapshot)]
    servers += [(DNS_NAMESPACE, NODE_LOCAL_DNS)]
    for namespace in snapshot.cluster.namespaces:
        for where, labels in _pods(snapshot, namespace):
            allowed = rules(snapshot, namespace, labels, "egress")
            fits = [
                rule
                for rule in allowed or []
                if has_port(rule, {53}, "UDP") and any(has_peer(rule, "to", snapshot, *server) for server in servers)
            ]
            if allowed is not None and not fits:
                yield Evidence(where, "its policies allow no DNS (UDP 53): names will not resolve")
                break  # one is enough to know


def _dns_services(snapshot: Snapshot) -> Iterator[Object]:
    for service in snapshot.all("Service"):
        if (service["metadata"].get("labels") or {}).get("k8s-app") == "kube-dns":
            yield service


def _mlflow_way(snapshot: Snapshot) -> Iterator[Evidence]:
    target = snapshot.service("mlflow")
    if target is None:
        return
    namespace, name, port = target
    service = snapshot.find("Service", namespace, name) or {"spec": {}}
    address = service["spec"].get("clusterIP")
    address = None if address in {None, "None", ""} else address
    ports: set[Any] = {port}
    ports |= {one.get("targetPort") for one in service["spec"].get("ports") or [] if one["port"] == port}
    ports |= {  # a named target port is a number of the pod
        one["port"] for part in snapshot.slices(namespace, name) for one in part.get("ports") or [] if one.get("port")
    }
    labels = next((pod["metadata"].get("labels") or {} for pod in snapshot.pods_behind(namespace, name)), {})
    inward = rules(snapshot, namespace, labels, "ingress")
    for key in ("customizer", "evaluator"):
        source = snapshot.service(key)
        if source is None or source[0] == namespace:
            continue
        for where, own in _pods(snapshot, source[0]):
            outward = rules(snapshot, source[0], own, "egress")
            fits = [
                rule
                for rule in outward or []
                if has_port(rule, ports, "TCP") and has_peer(rule, "to", snapshot, namespace, address)
            ]
            if outward is not None and not fits:
                yield Evidence(where, f"its policies allow no way out to MLflow ({namespace}/{name}:{port})")
                break
        into = [r for r in inward or [] if has_port(r, ports, "TCP") and has_peer(r, "from", snapshot, source[0], None)]
        if inward is not None and not into:
            yield Evidence(f"{namespace}/{name}", f"policies of {namespace} let nothing in from {source[0]} ({key})")


def variable(pod: Object, name: str) -> str | None:
    """Value of an environment variable that a pod states itself."""
    for container in pod["spec"]["containers"]:
        for entry in container.get("env") or []:
            if entry["name"] == name:
                return str(entry.get("value", "")) or None
    return None


def _hosts(snapshot: Snapshot) -> Iterator[Evidence]:
    target = snapshot.service("mlflow")
    if target is None:
        return
    namespace, name, _port = target
    names = (f"{name}.{namespace}.svc.cluster.local", f"{name}.{namespace}")
    for pod in snapshot.pods_behind(namespace, name):
        arguments = [
            str(a) for c in pod["spec"]["containers"] for a in (c.get("args") or []) + (c.get("command") or [])
        ]
        flags = [value for flag, value in pairwise(arguments) if flag == "--allowed-hosts"]
        flags += [a.partition("=")[2] for a in arguments if a.startswith("--allowed-hosts=")]
        stated = variable(pod, ALLOWED_HOSTS) or ",".join(flags)
        patterns = [one.strip() for one in stated.split(",") if one.strip()]
        if patterns and not any(fnmatch.fnmatch(host, p.partition(":")[0]) for host in names for p in patterns):
            yield Evidence(ident(pod), f"allowed hosts are {stated}: pods that ask for {names[0]} get 403")
        tail = next((t for t in snapshot.tails if (t.namespace, t.pod) == (namespace, pod["metadata"]["name"])), None)
        line = next((x for x in reversed(tail.text.splitlines()) if _HOST_REFUSED.search(x)), "") if tail else ""
        if line:
            yield Evidence(ident(pod), brief(line))


def _major(image: str) -> int | None:
    tag = image.rpartition(":")[2]
    match = re.match(r"v?(\d+)[.-]", f"{tag}.")
    return int(match[1]) if match and "/" not in tag else None


def _adapters(snapshot: Snapshot) -> Iterator[Evidence]:
    names = set(snapshot.cluster.nims.values())
    for pod in snapshot.ours("Pod"):
        source = variable(pod, PEFT_SOURCE)
        if source is None or pod["metadata"]["namespace"] not in names or not source.startswith("http"):
            continue
        image = next(
            c["image"] for c in pod["spec"]["containers"] if any(e["name"] == PEFT_SOURCE for e in c.get("env") or [])
        )
        if (_major(image) or 1) >= 2:
            fix = "pin NIM 1.x, or mount a folder with the adapters and set it as peft_source"
            yield Evidence(ident(pod), f"{image} takes adapters from a folder only, {PEFT_SOURCE} is {source}", fix=fix)
        host = (urlsplit(source).hostname or "").split(".")
        service, namespace = host[0], host[1] if len(host) > 1 else pod["metadata"]["namespace"]
        inside = len(host) < 3 or host[2] == "svc"
        if inside and snapshot.find("Service", namespace, service) is None:
            yield Evidence(ident(pod), f"{PEFT_SOURCE} is {source}, and there is no Service {namespace}/{service}")
        elif inside and not snapshot.ready_addresses(namespace, service):
            yield Evidence(ident(pod), f"{PEFT_SOURCE} is {source}, and no pod behind {namespace}/{service} is ready")


def _backends(thing: Object) -> set[tuple[str, str]]:
    """Namespaces and names of the Services that an Ingress or HTTPRoute leads to."""
    here, services = thing["metadata"]["namespace"], set()
    for rule in thing["spec"].get("rules") or []:
        for ref in rule.get("backendRefs") or []:
            services.add((ref.get("namespace", here), ref["name"]))
        for path in (rule.get("http") or {}).get("paths") or []:
            if service := path["backend"].get("service"):
                services.add((here, service["name"]))
    return services


def _named(snapshot: Snapshot, keys: tuple[str, ...]) -> set[tuple[str, str]]:
    addresses = (snapshot.service(key) for key in keys)
    return {address[:2] for address in addresses if address is not None}


def _ingress_limits(snapshot: Snapshot) -> Iterator[Evidence]:
    uploads, quick = _named(snapshot, UPLOADS), _named(snapshot, QUICK)
    for ingress in snapshot.ours("Ingress"):
        notes, backends = ingress["metadata"].get("annotations") or {}, _backends(ingress)
        name = ingress["spec"].get("ingressClassName") or notes.get("kubernetes.io/ingress.class", "")
        if "nginx" in name and backends & uploads:
            f5 = any(note.startswith("nginx.org/") for note in notes)
            key = "nginx.org/client-max-body-size" if f5 else "nginx.ingress.kubernetes.io/proxy-body-size"
            if notes.get(key) not in {"0", "0m"} and not str(notes.get(key, "")).endswith("g"):
                yield Evidence(ident(ingress), f"{key} is {notes.get(key, 'not set')}: larger uploads get 413", "warn")
        attributes = notes.get("alb.ingress.kubernetes.io/load-balancer-attributes", "")
        if name == "alb" and backends - quick and "idle_timeout" not in attributes:
            yield Evidence(
                ident(ingress), "no idle_timeout in load-balancer-attributes: silent streams end at 60 s", "warn"
            )


def _limits(snapshot: Snapshot) -> Iterator[Evidence]:
    yield from _ingress_limits(snapshot)
    quick = _named(snapshot, QUICK)
    classes = {c["metadata"]["name"] for c in snapshot.all("GatewayClass") if c["spec"]["controllerName"] == ENVOY}
    gateways = {ident(g) for g in snapshot.all("Gateway") if g["spec"]["gatewayClassName"] in classes}
    policies = [p for p in snapshot.all("BackendTrafficPolicy") if (p["spec"].get("timeout") or {}).get("http")]
    covered = {
        (target["kind"], p["metadata"]["namespace"], target["name"])
        for p in policies
        for target in [*(p["spec"].get("targetRefs") or []), *filter(None, [p["spec"].get("targetRef")])]
    }
    for route in snapshot.ours("HTTPRoute"):
        namespace = route["metadata"]["namespace"]
        parents = [
            (parent.get("namespace", namespace), parent["name"])
            for parent in route["spec"].get("parentRefs") or []
            if f"{parent.get('namespace', namespace)}/{parent['name']}" in gateways
        ]
        policy = ("HTTPRoute", namespace, route["metadata"]["name"]) in covered
        policy = policy or any(("Gateway", *parent) in covered for parent in parents)
        rules = [rule for rule in route["spec"].get("rules") or [] if rule.get("backendRefs")]
        bare = [rule for rule in rules if "request" not in (rule.get("timeouts") or {})]
        if parents and bare and not policy and _backends(route) - quick:
            yield Evidence(ident(route), "no timeout is set: Envoy ends streams and slow requests at 15 s", "warn")


CHECKS = (
    Check(
        name="DNS policy",
        symptom="name resolution fails",
        look=_dns,
        looks_at="egress rules of the NetworkPolicies that select a pod: UDP 53",
        fix="allow UDP and TCP 53 to kube-dns in this namespace; `pulumi up --refresh` restores the stack's policies",
    ),
    Check(
        name="MLflow policy",
        symptom="MLflow shows no runs",
        look=_mlflow_way,
        looks_at="egress rules of the Customizer's and the Evaluator's namespaces; ingress rules of MLflow's",
        fix="allow TCP to MLflow on both sides; `pulumi up --refresh` restores the stack's policies",
    ),
    Check(
        name="MLflow hosts",
        symptom="MLflow answers 403, Invalid Host header",
        look=_hosts,
        looks_at=f"{ALLOWED_HOSTS} and --allowed-hosts of MLflow's pods; the end of its log",
        fix="add the in-cluster name and the public host to mlflow.allowed_hosts in the stack's settings",
    ),
    Check(
        name="adapter source",
        symptom="NIM does not find the fine-tuned model",
        look=_adapters,
        looks_at=f"{PEFT_SOURCE} of the NIMs: the Service it names, and the major version of the image",
        fix="the Entity Store must be ready; an adapter appears after one refresh interval; its rank must fit max_rank",
    ),
    Check(
        name="route limits",
        symptom="HTTP 413 on upload, streams cut at 15 or 60 s",
        look=_limits,
        looks_at="annotations of Ingresses (nginx, ALB); timeouts in HTTPRoutes and policies of Envoy Gateway",
        fix="set no body limit and long timeouts on this route; `pulumi up --refresh` restores the stack's settings",
    ),
)
