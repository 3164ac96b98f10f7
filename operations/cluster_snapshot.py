"""One look at a cluster, taken by a few calls of kubectl however many checks read it.

Of Secrets only the facts are kept: which keys, and for whom a pull secret logs in; never a value. Logs are the tails of
at most MAX_TAILS containers: those that failed, then those whose log says what the API does not. What kubectl was not
allowed to see is in `gaps`; checks then have less to look at and say nothing about it.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

from nemostack.errors import ServiceError, TargetError
from nemostack.kubectl.client import Kubectl, Object
from nemostack.outputs import ClusterOutputs, StackOutputs
from operations.helm_releases import Identity, Release, read_manifests, read_releases

MAX_TAILS = 16
TAIL_LINES = 80
_TAIL_BYTES = 32 * 1024
_GET_TIMEOUT_S = 120.0
_TAIL_TIMEOUT_S = 20.0

ALWAYS = (
    *("nodes", "namespaces", "persistentvolumes", "storageclasses.storage.k8s.io"),
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    *("pods", "events", "services", "persistentvolumeclaims", "endpointslices.discovery.k8s.io", "jobs.batch"),
    *("deployments.apps", "statefulsets.apps", "daemonsets.apps"),
    *("networkpolicies.networking.k8s.io", "ingresses.networking.k8s.io"),
)
IF_SERVED = (
    *("gatewayclasses.gateway.networking.k8s.io", "gateways.gateway.networking.k8s.io"),
    *("httproutes.gateway.networking.k8s.io", "backendtrafficpolicies.gateway.envoyproxy.io"),
    "aigatewayroutes.aigateway.envoyproxy.io",
    *("nimservices.apps.nvidia.com", "nimcaches.apps.nvidia.com", "nemotrainingjobs.nvidia.com"),
    *("podgroups.scheduling.volcano.sh", "certificates.cert-manager.io", "clusters.postgresql.cnpg.io"),
)
# Services whose log is read although their pods are fine.
TELLING = ("mlflow", "nim", "customizer")


@dataclass(frozen=True, kw_only=True)
class SecretFacts:
    """What may be known of a Secret. `logins`: registry -> user, of a pull secret that can be read."""

    namespace: str
    name: str
    kind: str
    keys: frozenset[str]
    logins: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tail:
    """The end of a container's log."""

    namespace: str
    pod: str
    container: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A cluster at one moment. `served`: resources of its API as plural.group; None where it could not be asked."""

    outputs: StackOutputs
    taken: datetime
    version: str
    served: frozenset[str]
    objects: tuple[Object, ...]
    secrets: tuple[SecretFacts, ...] = ()
    releases: tuple[Release, ...] = ()
    held: Mapping[tuple[str, str], frozenset[Identity]] = field(default_factory=dict)
    """Namespace and name of a deployed release -> the objects that it should have."""
    tails: tuple[Tail, ...] = ()
    gaps: tuple[str, ...] = ()

    @property
    def cluster(self) -> ClusterOutputs:
        """What the outputs say of the cluster."""
        if self.outputs.cluster is None:
            raise TargetError(f"target {self.outputs.target} has no cluster")
        return self.outputs.cluster

    @cached_property
    def _by_kind(self) -> dict[str, list[Object]]:
        by_kind: dict[str, list[Object]] = {}
        for thing in self.objects:
            by_kind.setdefault(thing["kind"], []).append(thing)
        return by_kind

    def all(self, kind: str) -> list[Object]:
        """Objects of a kind, in the whole cluster."""
        return self._by_kind.get(kind, [])

    def ours(self, kind: str) -> list[Object]:
        """Objects of a kind in the stack's namespaces."""
        names = set(self.cluster.namespaces)
        return [thing for thing in self.all(kind) if thing["metadata"].get("namespace") in names]

    def serves(self, resource: str) -> bool:
        """Whether the API knows a resource, given as plural.group."""
        return resource in self.served

    def find(self, kind: str, namespace: str, name: str) -> Object | None:
        address = (namespace, name)
        return next(
            (o for o in self.all(kind) if (o["metadata"].get("namespace"), o["metadata"]["name"]) == address), None
        )

    @cached_property
    def _events(self) -> dict[tuple[str, str, str], list[Object]]:
        by_object: dict[tuple[str, str, str], list[Object]] = {}
        for event in self.all("Event"):
            about = event["involvedObject"]
            key = (about.get("kind", ""), about.get("namespace", ""), about.get("name", ""))
            by_object.setdefault(key, []).append(event)
        return by_object

    def events(self, thing: Object) -> list[Object]:
        """Events about an object."""
        meta = thing["metadata"]
        return self._events.get((thing["kind"], meta.get("namespace", ""), meta["name"]), [])

    def age_s(self, timestamp: str) -> float:
        """Seconds from an API timestamp to the snapshot."""
        return (self.taken - datetime.fromisoformat(timestamp)).total_seconds()

    def ready_addresses(self, namespace: str, service: str) -> int:
        """Pods behind a Service that get traffic."""
        return sum(
            1
            for part in self.slices(namespace, service)
            for endpoint in part.get("endpoints") or []
            if endpoint.get("conditions", {}).get("ready") is not False
        )

    def slices(self, namespace: str, service: str) -> Iterator[Object]:
        """EndpointSlices of a Service."""
        for part in self.all("EndpointSlice"):
            meta = part["metadata"]
            if meta["namespace"] == namespace and meta.get("labels", {}).get("kubernetes.io/service-name") == service:
                yield part

    def pods_behind(self, namespace: str, service: str) -> list[Object]:
        """Pods that a Service of the cluster leads to."""
        names = {
            endpoint["targetRef"]["name"]
            for part in self.slices(namespace, service)
            for endpoint in part.get("endpoints") or []
            if endpoint.get("targetRef", {}).get("kind") == "Pod"
        }
        pods = (self.find("Pod", namespace, name) for name in sorted(names))
        return [pod for pod in pods if pod is not None]

    def service(self, key: str) -> tuple[str, str, int] | None:
        """Namespace, name and port of a service of the outputs, by its key."""
        for name, address in self.cluster.services.items():
            if service_key(name) == key:
                return parse_address(address)
        return None


def service_key(name: str) -> str:
    """`nim` for `nim` and `nim_url`: the outputs may use either."""
    return name.removesuffix("_url")


def parse_address(address: str) -> tuple[str, str, int]:
    """`namespace/service:port` in its parts. Raises TargetError."""
    try:
        namespace, rest = address.split("/")
        name, port = rest.split(":")
        return namespace, name, int(port)
    except ValueError:
        raise TargetError(f"service {address!r} of the stack's outputs is not namespace/service:port") from None


def take(kubectl: Kubectl, outputs: StackOutputs, tell: Callable[[str], None] = lambda _text: None) -> Snapshot:
    """Look at the cluster. Raises ServiceError when it does not answer at all."""
    tell("version")
    version = json.loads(kubectl.run("version", "-o", "json", timeout_s=20))["serverVersion"]["gitVersion"]
    gaps: list[str] = []

    def allowed(what: str, look: Callable[[], Any], otherwise: Any) -> Any:
        tell(what)
        try:
            return look()
        except ServiceError as error:
            gaps.append(error.args[0])
            return otherwise

    names = allowed("kinds", lambda: kubectl.run("api-resources", "--verbs=list", "-o", "name"), "")
    served = frozenset(names.split())
    resources = [*ALWAYS, *(name for name in IF_SERVED if name in served)]
    objects, refused = allowed(
        "objects", lambda: kubectl.objects(resources, "--all-namespaces", timeout_s=_GET_TIMEOUT_S), ([], "")
    )
    gaps += [refused] if refused else []
    releases = allowed("releases", lambda: read_releases(kubectl), ())
    held = (
        allowed("objects of releases", lambda: read_manifests(kubectl, timeout_s=_GET_TIMEOUT_S), {})
        if releases
        else {}
    )
    expected = outputs.cluster.secrets if outputs.cluster else {}
    secrets: list[SecretFacts] = []
    for name in sorted({name for names in expected.values() for name in names}):
        secrets += allowed(f"Secret {name}", partial(_secrets, kubectl, name), [])
    bare = Snapshot(
        outputs=outputs,
        taken=datetime.now(UTC),
        version=version,
        served=served,
        objects=tuple(objects),
        secrets=tuple(secrets),
        releases=tuple(releases),
        held=held,
        gaps=tuple(gaps),
    )
    tell("logs of failed pods")
    return replace(bare, tails=tuple(_tails(kubectl, bare)))


def _secrets(kubectl: Kubectl, name: str) -> list[SecretFacts]:
    objects, refused = kubectl.objects(["secrets"], "--all-namespaces", f"--field-selector=metadata.name={name}")
    if refused:
        raise ServiceError(refused)
    return [secret_facts(secret) for secret in objects]


def secret_facts(secret: Object) -> SecretFacts:
    """Keep what may be known of a Secret."""
    data = secret.get("data") or {}
    return SecretFacts(
        namespace=secret["metadata"]["namespace"],
        name=secret["metadata"]["name"],
        kind=secret["type"],
        keys=frozenset(data),
        logins=_logins(data.get(".dockerconfigjson", "")),
    )


def _logins(encoded: str) -> dict[str, str]:
    """Registry -> user of a pull secret; a user given only in `auth` is read from there."""
    try:
        auths = json.loads(base64.b64decode(encoded))["auths"]
        return {
            registry: entry.get("username") or base64.b64decode(entry.get("auth", "")).decode().partition(":")[0]
            for registry, entry in auths.items()
        }
    except (ValueError, KeyError, AttributeError, TypeError):
        return {}


def containers(pod: Object) -> Iterator[Object]:
    """Statuses of a pod's containers, those that run first included."""
    status = pod.get("status", {})
    yield from status.get("initContainerStatuses") or []
    yield from status.get("containerStatuses") or []


def ending(container: Object) -> Object | None:
    """How a container ended last, when that was a failure: `exitCode`, `reason`, maybe `message`."""
    for state in (container.get("state", {}), container.get("lastState", {})):
        ended: Object | None = state.get("terminated")
        if ended and ended.get("exitCode"):
            return ended
    return None


def _tails(kubectl: Kubectl, snapshot: Snapshot) -> Iterable[Tail]:
    previous_of: dict[tuple[str, str, str], bool] = {}
    for pod in snapshot.ours("Pod"):
        for container in containers(pod):
            if ending(container):
                previous = "terminated" not in container.get("state", {})
                previous_of[pod["metadata"]["namespace"], pod["metadata"]["name"], container["name"]] = previous
    for key in TELLING:
        if (address := snapshot.service(key)) is None:
            continue
        for pod in snapshot.pods_behind(*address[:2])[:1]:
            for container in pod["spec"]["containers"][:1]:
                previous_of.setdefault(
                    (pod["metadata"]["namespace"], pod["metadata"]["name"], container["name"]), False
                )
    chosen = list(previous_of.items())[:MAX_TAILS]
    with ThreadPoolExecutor(4) as pool:
        texts = pool.map(lambda item: _tail(kubectl, *item), chosen)
        return [Tail(*where, text) for (where, _), text in zip(chosen, texts, strict=True) if text]


def _tail(kubectl: Kubectl, where: tuple[str, str, str], previous: bool) -> str:
    namespace, pod, container = where
    flags = [f"--tail={TAIL_LINES}", f"--limit-bytes={_TAIL_BYTES}", *(["--previous"] if previous else [])]
    try:
        return kubectl.run(
            "logs", f"--namespace={namespace}", pod, f"--container={container}", *flags, timeout_s=_TAIL_TIMEOUT_S
        )
    except ServiceError:
        return ""  # no log is no news: the container's state says that it failed
