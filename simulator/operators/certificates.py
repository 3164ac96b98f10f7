"""cert-manager: issuers wait for their key, certificates for their issuer. No key and no certificate is real.

From the source of v1.21.1. A CA issuer is Ready when its Secret is there (`pkg/issuer/ca/setup.go`), a ClusterIssuer's
in the namespace of cert-manager itself; one that signs itself, and Let's Encrypt, are at once. A Certificate gets its
Secret only from an issuer that is Ready, and is not Ready before (`pkg/controller/certificates`); the Secret outlives
it. The webhook's refusals are a ValidatingAdmissionPolicy of the stand-in chart.
"""

from simulator.api import Object
from simulator.operators.rounds import DEPLOYMENTS, SECRETS, Round, at, condition

CERTIFICATES = "/apis/cert-manager.io/v1/certificates"
ISSUERS = "/apis/cert-manager.io/v1/issuers"
CLUSTER_ISSUERS = "/apis/cert-manager.io/v1/clusterissuers"
GROUP = "cert-manager.io"
NAMESPACE = "cert-manager"
KEY_PAIR = ("tls.crt", "tls.key")


def own_namespace(seen: Round) -> str:
    """Return where cert-manager runs, and so looks for the Secrets of ClusterIssuers."""
    for (namespace, _), deployment in seen.collection(DEPLOYMENTS).items():
        labels = deployment["metadata"].get("labels", {})
        if (labels.get("app.kubernetes.io/name"), labels.get("app.kubernetes.io/component")) == (
            NAMESPACE,
            "controller",
        ):
            return namespace
    return NAMESPACE


def issuer(seen: Round, made: Object) -> Object:
    """Ready, unless it signs with a Secret that is not there."""
    authority = made["spec"].get("ca")
    if authority is None:
        return {"conditions": [condition("Ready")]}
    namespace = made["metadata"].get("namespace") or own_namespace(seen)
    name = authority["secretName"]
    secret = seen.secrets.get((namespace, name))
    if secret is None:
        message = f'Error getting keypair for CA issuer: secrets "{name}" not found'
        return {"conditions": [condition("Ready", False, reason="ErrGetKeyPair", message=message)]}
    if not all(secret.get("data", {}).get(key) for key in KEY_PAIR):
        message = f"Error getting keypair for CA issuer: no data for {' or '.join(map(repr, KEY_PAIR))} in secret"
        return {"conditions": [condition("Ready", False, reason="ErrInvalidKeyPair", message=message)]}
    return {"conditions": [condition("Ready", reason="KeyPairVerified", message="Signing CA verified")]}


def certificate(seen: Round, wanted: Object) -> Object:
    """A Secret of the right shape with no certificate in it, once the issuer is Ready."""
    namespace, name = wanted["metadata"]["namespace"], wanted["spec"]["secretName"]
    if (namespace, name) not in seen.secrets:
        if not is_ready(find_issuer(seen, wanted)):
            message = "Issuing certificate as Secret does not exist"
            return {"conditions": [condition("Ready", False, reason="DoesNotExist", message=message)]}
        text = dict.fromkeys((*KEY_PAIR, "ca.crt"), "simulated")
        secret = {"metadata": {"name": name}, "type": "kubernetes.io/tls", "stringData": text}
        seen.api.create(at(SECRETS, namespace), secret)
        seen.changed = True
    return {"conditions": [condition("Ready", reason="Ready", message="Certificate is up to date and has not expired")]}


def find_issuer(seen: Round, wanted: Object) -> Object | None:
    """Return the issuer that a Certificate names, None if there is none."""
    reference = wanted["spec"]["issuerRef"]
    if reference.get("group", GROUP) != GROUP:
        return None
    if reference.get("kind", "Issuer") == "ClusterIssuer":
        return seen.collection(CLUSTER_ISSUERS).get(("", reference["name"]))
    return seen.collection(ISSUERS).get((wanted["metadata"]["namespace"], reference["name"]))


def is_ready(thing: Object | None) -> bool:
    """Whether an object has the condition Ready."""
    conditions = (thing or {}).get("status", {}).get("conditions", [])
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)
