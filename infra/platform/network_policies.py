"""NetworkPolicies of the stack's namespaces: all closed, then opened by the edges of the topology.

Whether they hold is up to the cluster's network plugin: some (minikube's default, flannel) ignore policies silently.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from infra import names
from infra.config.network import Security
from infra.topology.connections import API_SERVER_PORTS, Connections, Edge, Peer

DNS_NAMESPACE = "kube-system"
NODE_LOCAL_DNS = "169.254.20.10/32"
NAME_LABEL = "kubernetes.io/metadata.name"

Spec = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class NetworkPoliciesArgs:
    """`namespaces`: what each policy waits for is its own, so that a stack of many stays small."""

    security: Security
    connections: Connections
    namespaces: Mapping[str, pulumi.Resource]


class NetworkPolicies(pulumi.ComponentResource):
    """default-deny, allow-dns or allow-dns-mlflow, allow-egress and allow-ingress in each namespace."""

    def __init__(self, name: str, args: NetworkPoliciesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nemostack:platform:NetworkPolicies", name, None, opts)
        security, connections = args.security, args.connections
        wanted = security.network_policies
        specs = policies(connections, node_local_dns=security.node_local_dns) if wanted else {}
        for (namespace, policy), spec in specs.items():
            kubernetes.apiextensions.CustomResource(  # the typed class renames `from`, which this need not
                f"{namespace}/{policy}",
                api_version="networking.k8s.io/v1",
                kind="NetworkPolicy",
                metadata={"name": policy, "namespace": namespace},
                spec=spec,
                opts=pulumi.ResourceOptions(parent=self, depends_on=[args.namespaces[namespace]]),
            )
        for namespace in connections.controllers if wanted and security.cilium else ():
            kubernetes.apiextensions.CustomResource(
                f"{namespace}/allow-api-server",
                api_version="cilium.io/v2",
                kind="CiliumNetworkPolicy",
                metadata={"name": "allow-api-server", "namespace": namespace},
                spec=to_api_server(),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[args.namespaces[namespace]]),
            )
        self.register_outputs({})


def to_api_server() -> Spec:
    """Let all pods of a namespace reach the API server.

    Cilium knows it by an entity: no ipBlock of a NetworkPolicy selects a node, 0.0.0.0/0 neither.
    """
    ports = [{"port": str(port), "protocol": "TCP"} for port in API_SERVER_PORTS]
    return {"endpointSelector": {}, "egress": [{"toEntities": ["kube-apiserver"], "toPorts": [{"ports": ports}]}]}


def policies(connections: Connections, *, node_local_dns: bool) -> dict[tuple[str, str], Spec]:
    """Namespace and name -> spec of every policy."""
    specs: dict[tuple[str, str], Spec] = {}
    ways = connections.edges
    for namespace in connections.closed:
        here = Peer(namespace=namespace)
        out = [edge for edge in ways if edge.consumer == here]
        to_mlflow = [edge for edge in out if edge.provider.namespace == names.MLFLOW_NAMESPACE]
        others = [edge for edge in out if edge not in to_mlflow]
        into = [edge for edge in ways if edge.provider == here]
        within: list[Spec] = [{"podSelector": {}}]
        specs[namespace, "default-deny"] = everything({"policyTypes": ["Ingress", "Egress"]})
        specs[namespace, "allow-dns-mlflow" if to_mlflow else "allow-dns"] = everything(
            {
                "policyTypes": ["Egress"],
                "egress": [*dns(node_local_dns=node_local_dns), *(egress(edge) for edge in to_mlflow)],
            }
        )
        specs[namespace, "allow-egress"] = everything(
            {"policyTypes": ["Egress"], "egress": [{"to": within}, *(egress(edge) for edge in others)]}
        )
        specs[namespace, "allow-ingress"] = everything(
            {"policyTypes": ["Ingress"], "ingress": [{"from": within}, *(ingress(edge) for edge in into)]}
        )
    return specs


def everything(spec: Spec) -> Spec:
    """A policy for all pods of its namespace."""
    return {"podSelector": {}} | spec


def dns(*, node_local_dns: bool) -> list[Spec]:
    """Names: the cluster's DNS pods, and the cache on the node where there is one."""
    ports = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    to: list[Spec] = selectors(Peer(namespace=DNS_NAMESPACE))
    if node_local_dns:
        to += selectors(Peer(cidrs=(NODE_LOCAL_DNS,)))
    return [{"to": to, "ports": ports}]


def egress(edge: Edge) -> Spec:
    """Rule on the side of the consumer."""
    return {"to": selectors(edge.provider)} | ports(edge)


def ingress(edge: Edge) -> Spec:
    """Rule on the side of the provider."""
    return {"from": selectors(edge.consumer)} | ports(edge)


def selectors(peer: Peer) -> list[Spec]:
    """An end of an edge in the words of a policy."""
    if peer.namespace:
        return [{"namespaceSelector": {"matchLabels": {NAME_LABEL: peer.namespace}}}]
    less = {"except": list(peer.less)} if peer.less else {}
    return [{"ipBlock": {"cidr": cidr} | less} for cidr in peer.cidrs]


def ports(edge: Edge) -> Spec:
    """Ports of an edge; none means any."""
    return {"ports": [{"protocol": "TCP", "port": port} for port in edge.ports]} if edge.ports else {}
