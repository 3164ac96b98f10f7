"""The load balancers of a cloud: an address for what asks for one, and no traffic."""

from simulator.api import Object
from simulator.operators.rounds import Round

ADDRESS = "192.0.2.10"  # of a block that is reserved for documentation


def load_balanced(_seen: Round, thing: Object) -> Object | None:
    """An address for a Service that asks for one, and for every Ingress."""
    if thing["spec"].get("type", "LoadBalancer") != "LoadBalancer":
        return None
    ports = thing.get("status", {}).get("loadBalancer", {}).get("ingress")
    return None if ports else {"loadBalancer": {"ingress": [{"ip": ADDRESS}]}}
