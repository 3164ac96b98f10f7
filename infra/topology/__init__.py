"""Everything that follows from the settings of a stack on Kubernetes and that several parts of it need, resolved once.

Data, frozen: which services run and where, databases, bucket, routes, connections, placement. The settings were checked
before; nothing here refuses any. What follows from one section of the settings alone is a property of that section.
"""

from infra.topology.topology import Topology, resolve_topology

__all__ = ["Topology", "resolve_topology"]
