"""An existing cluster: any Kubernetes, K3s, minikube. Verified first, then used; nothing of it is made or deleted.

What is verified (capacity.py): GPUs and their memory, storage classes. Refuses a cluster that cannot carry the
stack with all that is missing at once. Labels of nodes are the one thing that is put on it, if the settings ask.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from infra.clusters.capacity import GpuNode, demands, gpu_nodes, gpu_problems, storage_problems
from infra.clusters.cluster import Cluster, kubernetes_provider
from infra.config.clusters import AdoptedCluster
from infra.config.network import Security
from infra.config.stack import ClusterStackConfig
from nemostack.kubectl.process import Access, NoAnswer, NotInstalled, call, summarize_stderr

REQUEST_S = 20.0
READ_S = 90.0
"""A thousand nodes are read in chunks, each within REQUEST_S, all within READ_S."""
CILIUM = "/apis/cilium.io/v2"
ADDRESSES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
OF_API_SERVER = "labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes"
"""The Service under which the API server lists its own addresses."""
START = {
    "minikube": "minikube start --driver=docker --container-runtime=docker --gpus=all",
    "existing": "start the cluster, or name another in existing.kubeconfig and existing.context",
}


class KubectlError(Exception):
    """kubectl is missing, did not reach the API server, or was refused: one line with what it said."""


@dataclass(frozen=True, kw_only=True)
class AdoptedArgs:
    """Access to the cluster, and the labels that each of `nodes` gets."""

    kubeconfig: str | None
    context: str | None
    nodes: Sequence[str] = ()
    labels: Mapping[str, str]


class Adopted(pulumi.ComponentResource):
    """Provider of an adopted cluster and labels on its nodes."""

    provider: kubernetes.Provider
    ready: list[pulumi.Resource]

    def __init__(self, name: str, args: AdoptedArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nemostack:cluster:Adopted", name, None, opts)
        self.provider = kubernetes_provider(name, args.kubeconfig, pulumi.ResourceOptions(parent=self), args.context)
        # A patch owns these labels and nothing else of the node: destroy takes them back and leaves the node. It is
        # not forced: a label that somebody else keeps at another value is an error, not a tug of war.
        self.ready = [
            kubernetes.core.v1.NodePatch(
                f"{name}-{node}",
                metadata={"name": node, "labels": dict(args.labels)},
                opts=pulumi.ResourceOptions(parent=self, provider=self.provider),
            )
            for node in (args.nodes if args.labels else ())
        ]
        self.register_outputs({})


def adopt(config: ClusterStackConfig, root: Path, opts: pulumi.ResourceOptions | None = None) -> Cluster:
    """Verify the cluster of the settings and connect to it. Raises RunError with all that is missing."""
    settings = config.cluster
    assert isinstance(settings, AdoptedCluster)
    access = Access(kubeconfig=kubeconfig_path(config.target, settings, root), context=settings.context)
    nodes = verify(config, settings, access)
    kubeconfig = str(access.kubeconfig) if access.kubeconfig else None
    component = Adopted(
        "cluster",
        AdoptedArgs(
            kubeconfig=kubeconfig,
            context=access.context,
            nodes=[node.name for node in nodes],
            labels=settings.label_nodes,
        ),
        opts,
    )
    return Cluster(
        provider=component.provider,
        kubeconfig=pulumi.Output.secret(""),
        kubeconfig_path=kubeconfig,
        context=access.context,
        storage_class=config.storage.class_name,
        rwx_storage_class=config.storage.rwx_class_name,
        ready=tuple(component.ready),
    )


def kubeconfig_path(target: str, settings: AdoptedCluster, root: Path) -> Path | None:
    """Resolve the kubeconfig's path: `~`, or relative to the clone."""
    if settings.kubeconfig is None:
        return None
    path = root / Path(settings.kubeconfig).expanduser()
    if not path.is_file():
        raise pulumi.RunError(f"{target}.kubeconfig: {path} is not a file: name a kubeconfig, or leave it out")
    return path


def read(access: Access, kind: str) -> list[dict[str, Any]]:
    """Read all cluster-wide objects of a kind, e.g. `nodes`. Raises KubectlError."""
    items: list[dict[str, Any]] = json.loads(get(access, kind, "-o", "json"))["items"]
    return items


def read_path(access: Access, path: str) -> dict[str, Any]:
    """Read a path of the API; empty where the cluster does not have it. Raises KubectlError."""
    try:
        answer: dict[str, Any] = json.loads(get(access, "--raw", path))
    except KubectlError as error:
        if "(NotFound)" in str(error):
            return {}
        raise
    return answer


def get(access: Access, *arguments: str) -> str:
    """Run `kubectl get ARGUMENTS` and return its output. Raises KubectlError."""
    try:
        answer = call(access, ["get", *arguments], request_s=REQUEST_S, within_s=READ_S)
    except (NotInstalled, NoAnswer) as error:
        raise KubectlError(str(error)) from None
    if answer.code:
        raise KubectlError(summarize_stderr(answer.err).removeprefix("error: ") or f"kubectl ended with {answer.code}")
    return answer.out


def verify(config: ClusterStackConfig, settings: AdoptedCluster, access: Access) -> list[GpuNode]:
    """Return the nodes with GPUs. Raises RunError with all problems of the cluster, one a line."""
    try:
        members = read(access, "nodes")
        classes = read(access, "storageclasses")
        problems = cilium_problems(config.security, access, members)
    except KubectlError as error:
        message = f"{config.target}: cannot read the cluster ({access.place}): {error}: {START[config.target]}"
        raise pulumi.RunError(message) from None
    nodes = gpu_nodes(members, settings.gpu_taints)
    problems += storage_problems(classes, config.storage)
    if config.installs_gpu_software:
        pulumi.log.warn(
            f"GPUs of the cluster are not verified: prerequisites.gpu.software: {config.gpu_software} "
            "makes them allocatable only later"
        )
    else:
        targets = config.customizer.targets if config.services.customizer else ()
        problems += gpu_problems(nodes, demands(config.nims, targets), config.target, settings.min_gpus)
    if problems:
        raise pulumi.RunError("\n".join([f"the cluster ({access.place}) does not meet the requirements:", *problems]))
    return nodes


def cilium_problems(security: Security, access: Access, nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what is wrong where the API server is a node of Cilium, which the usual policies do not match.

    The API server of a cloud's cluster is no node. Raises KubectlError.
    """
    if security.cilium or not security.network_policies:
        return []
    served = {resource["name"] for resource in read_path(access, CILIUM).get("resources", ())}
    if "ciliumnetworkpolicies" not in served:
        return []
    slices = read_path(access, f"{ADDRESSES}?{OF_API_SERVER}").get("items", ())
    servers = {address for part in slices for end in part["endpoints"] or () for address in end["addresses"]}
    on_nodes = servers & {own["address"] for node in nodes for own in node["status"].get("addresses") or ()}
    if not on_nodes:
        return []
    where = ", ".join(sorted(on_nodes))
    problem = (
        f"security.cilium: the API server is a node ({where}), which Cilium matches by no address, so that databases "
        "and jobs could not reach it: security.cilium: true adds a policy that names it"
    )
    return [problem]
