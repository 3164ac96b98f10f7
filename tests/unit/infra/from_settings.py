"""Parts of the program made of the settings of a whole stack, for tests that change a setting and look at one part."""

from collections.abc import Mapping
from typing import Any

from infra import clusters
from infra.clusters.cluster import Cluster
from infra.config import ClusterStackConfig
from infra.config.pools import GpuPool
from infra.nemo import values
from infra.nemo.values import Surroundings
from infra.platform import gpu, mlflow, monitoring, network_policies
from infra.platform import namespaces as stack_namespaces
from infra.platform.network_policies import NetworkPolicies, NetworkPoliciesArgs, Spec
from infra.platform.routing import certificates, gateway, ingress
from infra.platform.routing.objects import Object
from infra.topology import resolve_topology
from nemostack.clone import ROOT


def connect(config: ClusterStackConfig) -> Cluster:
    """Make the cluster, or adopt it."""
    return clusters.connect(config, resolve_topology(config), ROOT)


def pod_security(config: ClusterStackConfig) -> dict[str, str]:
    """Return namespaces and the levels that are enforced there."""
    return stack_namespaces.pod_security(resolve_topology(config), config.security, config.nims)


def policies(config: ClusterStackConfig) -> dict[tuple[str, str], Spec]:
    """Return every network policy."""
    connections = resolve_topology(config).connections
    return network_policies.policies(connections, node_local_dns=config.security.node_local_dns)


def make_policies(config: ClusterStackConfig, namespaces: Mapping[str, Any], opts: Any) -> None:
    """Make the network policies, for use inside `run`."""
    connections = resolve_topology(config).connections
    args = NetworkPoliciesArgs(security=config.security, connections=connections, namespaces=namespaces)
    NetworkPolicies("policies", args, opts)


def gateway_objects(config: ClusterStackConfig) -> list[Object]:
    """Return the objects of Gateway API."""
    return gateway.gateway_objects(config.routes, resolve_topology(config).routing, config.target)


def ingress_objects(config: ClusterStackConfig) -> list[Object]:
    """Return the Ingresses and what belongs to them."""
    return ingress.ingress_objects(config.routes, resolve_topology(config).routing)


def certificate_objects(config: ClusterStackConfig, ingress_class: str | None) -> list[Object]:
    """Return issuers and certificates."""
    return certificates.certificate_objects(config.routes, resolve_topology(config).routing, ingress_class)


def release_values(config: ClusterStackConfig, around: Surroundings) -> dict[str, values.Values]:
    """Return the values of each release of the umbrella chart, by namespace."""
    topology = resolve_topology(config)
    return {
        release.namespace: values.values(config, topology, release, around)
        for release in values.releases(topology.addresses)
    }


def mlflow_values(config: ClusterStackConfig, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the values of MLflow's chart."""
    return mlflow.mlflow_values(config.mlflow, resolve_topology(config), config.observability, annotations or {})


def prometheus_values(config: ClusterStackConfig, storage_class: str | None) -> dict[str, Any]:
    """Return the values of Prometheus' chart."""
    return monitoring.prometheus_values(config.observability, config.cluster, storage_class)


def gpu_operator_values(config: ClusterStackConfig) -> dict[str, Any]:
    """Return the values of the GPU operator's chart."""
    placement = resolve_topology(config).placement
    return gpu.gpu_operator_values(config.cluster, config.pools, placement, config.observability)


def device_plugin_values(config: ClusterStackConfig) -> dict[str, Any]:
    """Return the values of the device plugin's chart."""
    return gpu.device_plugin_values(config.pools, resolve_topology(config).placement)


def pool_labels(config: ClusterStackConfig, pool: GpuPool) -> dict[str, str]:
    """Return the labels by which GPU software finds the nodes of a pool."""
    return gpu.pool_labels(config.gpu_software, config.cluster, pool)
