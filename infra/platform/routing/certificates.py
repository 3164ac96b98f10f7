"""Certificates of the routes by cert-manager: who issues them, and which Secrets they land in. Pure.

self-signed makes an authority of the stack's own, so that users trust one certificate whatever the number of hosts.
Names a host once in each certificate; Let's Encrypt's limit of 100 names and of 5 equal certificates a week stands.
"""

from infra import names
from infra.config.network import Routes
from infra.platform.routing.gateway import CERTIFICATE
from infra.platform.routing.ingress import MERGEABLE
from infra.platform.routing.objects import GROUP, Object, build_object
from infra.topology.routing import Routing

API = "cert-manager.io/v1"
AUTHORITY = "nemo-routes-ca"
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
BY_CERT_MANAGER = ("self-signed", "letsencrypt", "issuer")


def certificate_objects(settings: Routes, routing: Routing, ingress_class: str | None) -> list[Object]:
    """Issuers and certificates. `ingress_class`: answers Let's Encrypt; None: our Gateway does."""
    tls = settings.tls
    if settings.kind == "none" or tls.kind not in BY_CERT_MANAGER:
        return []
    objects, issuer = [], tls.name or AUTHORITY
    if tls.kind == "self-signed":
        objects += authority()
        issuer = AUTHORITY
    if tls.kind == "letsencrypt":
        solver = {
            "gatewayHTTPRoute": {
                "parentRefs": [
                    {"group": GROUP, "kind": "Gateway", "name": names.GATEWAY, "namespace": names.GATEWAY_NAMESPACE}
                ]
            }
        }
        answer: Object = {"ingressClassName": ingress_class}
        if settings.merges_by_master:
            # the host belongs to its master Ingress, so the one that answers the challenge must be a minion of it
            answer["ingressTemplate"] = {"metadata": {"annotations": {MERGEABLE: "minion"}}}
        by_ingress = {"ingress": answer}
        acme = {
            "server": LETS_ENCRYPT,
            "email": tls.email,
            "privateKeySecretRef": {"name": "nemo-letsencrypt"},
            "solvers": [{"http01": by_ingress if ingress_class else solver}],
        }
        issuer = "nemo-letsencrypt"
        objects.append(build_object(API, "ClusterIssuer", issuer, None, {"acme": acme}))
    for namespace in routing.certificate_namespaces:
        spec = {
            "secretName": CERTIFICATE,
            "dnsNames": routing.hosts(None if namespace == names.GATEWAY_NAMESPACE else namespace),
            "issuerRef": {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": issuer},
        }
        certificate = build_object(API, "Certificate", CERTIFICATE, namespace, spec)
        if tls.kind == "letsencrypt" and settings.merges_by_master:
            # the master redirects the challenge to https, which the controller refuses while there is no certificate
            certificate["metadata"]["annotations"] = {"cert-manager.io/issue-temporary-certificate": "true"}
        objects.append(certificate)
    return objects


def authority() -> list[Object]:
    """An authority of ten years; its key is in cert-manager's namespace, where ClusterIssuers look."""
    bootstrap = f"{AUTHORITY}-bootstrap"
    spec = {
        "isCA": True,
        "commonName": AUTHORITY,
        "secretName": AUTHORITY,
        "duration": "87600h",
        "privateKey": {"algorithm": "ECDSA", "size": 256},
        "issuerRef": {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": bootstrap},
    }
    return [
        build_object(API, "ClusterIssuer", bootstrap, None, {"selfSigned": {}}),
        build_object(API, "Certificate", AUTHORITY, names.CERT_MANAGER_NAMESPACE, spec),
        build_object(API, "ClusterIssuer", AUTHORITY, None, {"ca": {"secretName": AUTHORITY}}),
    ]
