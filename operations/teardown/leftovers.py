"""Leftovers of a stack on its cluster, found among the objects that still exist. Pure.

Left on purpose, and no reason for an exit code: CustomResourceDefinitions. Helm never removes them, and with a kind go
all its objects, other people's included. Everything else that is found should be gone, or costs money.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from nemostack.kubectl.client import Object
from nemostack.models import Model
from nemostack.outputs import ClusterOutputs
from operations.doctor.check import brief, condition, ident
from operations.helm_releases import Release

KEEP = ("helm.sh/resource-policy", "keep")
# API groups of what the stack can install.
GROUPS = frozenset(
    {
        *("nvidia.com", "apps.nvidia.com", "nfd.k8s-sigs.io", "cert-manager.io", "acme.cert-manager.io"),
        *("scheduling.volcano.sh", "batch.volcano.sh", "bus.volcano.sh", "flow.volcano.sh", "nodeinfo.volcano.sh"),
        *("gateway.networking.k8s.io", "gateway.networking.x-k8s.io", "gateway.envoyproxy.io"),
        "aigateway.envoyproxy.io",
        *("postgresql.cnpg.io", "monitoring.coreos.com"),
    }
)
_HOLDING = (
    *("NamespaceDeletionDiscoveryFailure", "NamespaceDeletionGroupVersionParsingFailure"),
    *("NamespaceDeletionContentFailure", "NamespaceContentRemaining", "NamespaceFinalizersRemaining"),
)


class Leftover(Model):
    """One thing that is still there. `remove`: the command that removes it, once you have looked at it."""

    kind: str
    name: str
    namespace: str = ""
    detail: str = ""
    remove: str = ""
    on_purpose: bool = False
    data: bool = False

    @property
    def where(self) -> str:
        """`namespace/name`, or the name."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, kw_only=True)
class ClusterInventory:
    """What a look at the cluster showed. `definitions`: names of CustomResourceDefinitions, plural.group."""

    seen: datetime
    objects: Sequence[Object]
    releases: Sequence[Release]
    definitions: Sequence[str]

    def all(self, kind: str) -> Iterator[Object]:
        """Objects of a kind."""
        return (thing for thing in self.objects if thing["kind"] == kind)


def find_leftovers(remains: ClusterInventory, cluster: ClusterOutputs) -> list[Leftover]:
    """List what is left of a stack, data first."""
    namespaces = frozenset(cluster.namespaces)
    return [
        *_volumes(remains, cluster),
        *_claims(remains, cluster),
        *_load_balancers(remains, namespaces),
        *_webhooks(remains, namespaces),
        *_releases(remains, namespaces),
        *_namespaces(remains, cluster),
        *_definitions(remains.definitions),
    ]


def volumes(remains: ClusterInventory, cluster: ClusterOutputs) -> Iterator[Object]:
    """PersistentVolumes that were made for claims of the stack, none of a claim that the user brought."""
    for volume in remains.all("PersistentVolume"):
        claimed = volume["spec"].get("claimRef", {}).get("namespace") in cluster.namespaces
        if claimed and claim_of(volume) not in cluster.existing_claims:
            yield volume


def claim_of(volume: Object) -> str:
    """`namespace/name` of the claim that a volume was made for."""
    claim = volume["spec"]["claimRef"]
    return f"{claim['namespace']}/{claim['name']}"


def handle(volume: Object) -> str:
    """Return what the storage behind a volume is called there."""
    spec = volume["spec"]
    for source in ("csi", "gcePersistentDisk", "awsElasticBlockStore", "azureDisk", "nfs", "hostPath"):
        if source in spec:
            details = spec[source]
            names = ("volumeHandle", "pdName", "volumeID", "diskURI", "path")
            return next((str(details[name]) for name in names if name in details), source)
    return "unknown"


def is_kept(claim: Object) -> bool:
    """Whether a chart asks that this claim outlives it."""
    return bool((claim["metadata"].get("annotations") or {}).get(KEEP[0]) == KEEP[1])


def _volumes(remains: ClusterInventory, cluster: ClusterOutputs) -> Iterator[Leftover]:
    for volume in volumes(remains, cluster):
        spec = volume["spec"]
        size = (spec.get("capacity") or {}).get("storage", "?")
        phase = (volume.get("status") or {}).get("phase", "?")
        policy = spec.get("persistentVolumeReclaimPolicy", "?")
        yield Leftover(
            kind="PersistentVolume",
            name=ident(volume),
            detail=f"{size}, {phase}, {policy}, of {claim_of(volume)}, storage {handle(volume)}",
            remove="nemostack teardown --delete-data",
            data=True,
        )


def _claims(remains: ClusterInventory, cluster: ClusterOutputs) -> Iterator[Leftover]:
    for claim in remains.all("PersistentVolumeClaim"):
        meta = claim["metadata"]
        brought = f"{meta['namespace']}/{meta['name']}" in cluster.existing_claims
        if meta["namespace"] in cluster.namespaces and not brought:
            policy = "kept by its chart" if is_kept(claim) else "made at run time"
            yield Leftover(
                kind="PersistentVolumeClaim",
                name=meta["name"],
                namespace=meta["namespace"],
                detail=f"{policy}, {(claim.get('status') or {}).get('phase', '?')}",
                remove="nemostack teardown --delete-data",
                data=True,
            )


def _load_balancers(remains: ClusterInventory, ours: frozenset[str]) -> Iterator[Leftover]:
    for service in remains.all("Service"):
        meta = service["metadata"]
        if service["spec"].get("type") == "LoadBalancer" and meta["namespace"] in ours:
            given = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
            address = ", ".join(one.get("hostname") or one.get("ip", "") for one in given) or "no address"
            yield Leftover(
                kind="LoadBalancer",
                name=meta["name"],
                namespace=meta["namespace"],
                detail=address,
                remove=f"kubectl delete service --namespace={meta['namespace']} {meta['name']}",
            )


def _webhooks(remains: ClusterInventory, ours: frozenset[str]) -> Iterator[Leftover]:
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        for configuration in remains.all(kind):
            hooks = configuration.get("webhooks") or []
            services = [hook.get("clientConfig", {}).get("service") or {} for hook in hooks]
            if any(service.get("namespace") in ours for service in services):
                blocks = any(hook.get("failurePolicy", "Fail") == "Fail" for hook in hooks)
                yield Leftover(
                    kind=kind,
                    name=ident(configuration),
                    detail="blocks everything it watches, now that its Service is gone" if blocks else "does nothing",
                    remove=f"kubectl delete {kind.lower()} {ident(configuration)}",
                )


def _releases(remains: ClusterInventory, ours: frozenset[str]) -> Iterator[Leftover]:
    for release in remains.releases:
        if release.namespace in ours:
            yield Leftover(
                kind="Helm release",
                name=release.name,
                namespace=release.namespace,
                detail=release.status,
                remove=f"helm uninstall --namespace {release.namespace} {release.name}",
            )


def _namespaces(remains: ClusterInventory, cluster: ClusterOutputs) -> Iterator[Leftover]:
    for namespace in remains.all("Namespace"):
        if ident(namespace) not in cluster.namespaces or ident(namespace) in cluster.adopted_namespaces:
            continue
        phase = (namespace.get("status") or {}).get("phase", "?")
        conditions = (condition(namespace, kind) for kind in _HOLDING)
        words = "; ".join(brief(one["message"]) for one in conditions if one.get("status") == "True")
        terminating = phase == "Terminating"
        remove = (
            "bring the controller that owns the finalizers up again; it lets go (docs/kubernetes/teardown.md)"
            if terminating
            else f"kubectl delete namespace {ident(namespace)}"
        )
        yield Leftover(
            kind="Namespace", name=ident(namespace), detail=f"{phase}. {words}" if words else phase, remove=remove
        )


def _definitions(names: Iterable[str]) -> Iterator[Leftover]:
    groups: dict[str, list[str]] = {}
    for name in names:
        plural, _, group = name.partition(".")
        if group in GROUPS:
            groups.setdefault(group, []).append(plural)
    for group, plurals in sorted(groups.items()):
        yield Leftover(
            kind="CustomResourceDefinitions",
            name=group,
            detail=brief(f"{len(plurals)}: {', '.join(sorted(plurals))}", 120),
            remove="kubectl delete crd NAME, if nobody else uses them: all their objects go too",
            on_purpose=True,
        )


def gone_with_the_cluster(before: ClusterInventory, cluster: ClusterOutputs, retained: Iterable[str]) -> list[Leftover]:
    """What may be left in the cloud of a cluster that is gone itself: disks, load balancers of Services.

    The storage deletes a disk after its claim, which may take longer than the cluster lives, and nobody sees whether
    it was done.
    """
    namespaces, kept = frozenset(cluster.namespaces), set(retained)
    disks = []
    for volume in volumes(before, cluster):
        policy = volume["spec"].get("persistentVolumeReclaimPolicy")
        stays = policy == "Retain" or ident(volume) in kept
        fate = "kept" if stays else "deletion not confirmed"
        remove = "look for it in the cloud's console, and delete it there"
        disks.append(
            Leftover(
                kind="Disk",
                name=handle(volume),
                detail=f"{fate}, of volume {ident(volume)}; cannot be seen any more",
                remove=remove if stays else f"{remove} if it still exists",
                data=True,
            )
        )
    for balancer in _load_balancers(before, namespaces):
        text = f"{balancer.detail}; was there before, cannot be seen any more"
        remove = "look for it in the cloud's console"
        disks.append(balancer.model_copy(update={"detail": text, "remove": remove}))
    return disks
