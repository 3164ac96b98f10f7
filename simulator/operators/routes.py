"""cert-manager, Gateway API and the load balancers of a cloud: verdicts without certificates or traffic."""

from simulator.api import Object
from simulator.operators.rounds import Round, condition

ADDRESS = "192.0.2.10"  # of a block that is reserved for documentation


def certificate(seen: Round, wanted: Object) -> Object:
    """A Secret of the right shape with no certificate in it."""
    text = dict.fromkeys(("tls.crt", "tls.key", "ca.crt"), "simulated")
    secret = {"type": "kubernetes.io/tls", "stringData": text}
    seen.child(wanted, "/api/v1/secrets", "Secret", wanted["spec"]["secretName"], secret)
    return ready(seen, wanted)


def ready(_seen: Round, _thing: Object) -> Object:
    """Ready at once."""
    return {"conditions": [condition("Ready")]}


def accepted(_seen: Round, _thing: Object) -> Object:
    """Accepted at once."""
    return {"conditions": [condition("Accepted")]}


def gateway(_seen: Round, _gateway: Object) -> Object:
    """Programmed at once, with an address."""
    address = {"type": "IPAddress", "value": ADDRESS}
    return {"conditions": [condition("Accepted"), condition("Programmed")], "addresses": [address]}


def load_balanced(_seen: Round, thing: Object) -> Object | None:
    """An address for a Service that asks for one, and for every Ingress."""
    if thing["spec"].get("type", "LoadBalancer") != "LoadBalancer":
        return None
    ports = thing.get("status", {}).get("loadBalancer", {}).get("ingress")
    return None if ports else {"loadBalancer": {"ingress": [{"ip": ADDRESS}]}}
