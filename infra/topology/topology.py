"""The topology as a whole, and the one place where it is made of the settings. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from infra.config.namespaces import list_foundation
from infra.config.stack import ClusterStackConfig
from infra.topology.addresses import Addresses, resolve_addresses
from infra.topology.bucket import Bucket, resolve_bucket
from infra.topology.connections import Connections, resolve_connections
from infra.topology.databases import Database, resolve_databases
from infra.topology.placement import Placement, resolve_placement
from infra.topology.routing import Routing, resolve_routing


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """What several parts of a stack on Kubernetes must agree on."""

    addresses: Addresses
    foundation: Mapping[str, str]
    """Namespaces of operators, databases, object store and gateways that the stack installs -> Pod Security level."""
    databases: Mapping[str, Database]
    """By key of the service, MLflow included; none where charts bundle their own."""
    bucket: Bucket | None
    """None where volumes do."""
    routing: Routing
    connections: Connections
    placement: Placement

    @property
    def namespaces(self) -> list[str]:
        """Every namespace of the stack, by name."""
        return sorted({*self.foundation, *self.addresses.namespaces})


def resolve_topology(config: ClusterStackConfig) -> Topology:
    """Resolve the settings of a stack, which were checked before."""
    addresses = resolve_addresses(config)
    databases = resolve_databases(config.postgres, addresses)
    bucket = resolve_bucket(config.object_store, config.cluster, addresses)
    routing = resolve_routing(config.routes, addresses)
    return Topology(
        addresses=addresses,
        foundation=list_foundation(config),
        databases=databases,
        bucket=bucket,
        routing=routing,
        connections=resolve_connections(config, addresses, databases, bucket, routing),
        placement=resolve_placement(config),
    )
