"""Certificates of the routes by cert-manager: who issues them, and which Secrets they land in. Pure.

self-signed makes an authority of the stack's own, so that users trust one certificate whatever the number of hosts.
Names a host once in each certificate; Let's Encrypt's limit of 100 names and of 5 equal certificates a week stands.
"""

from infra import names
from infra.config.stack import ClusterStackConfig
from infra.platform.routing.gateway import CERTIFICATE, GROUP, Object, build_object
from infra.platform.routing.ingress import MERGEABLE
from infra.platform.routing.route_table import hosts, route_table

API = "cert-manager.io/v1"
AUTHORITY = "nemo-routes-ca"
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
SOLVER_PORT = 8089
"""On which the pod listens that answers Let's Encrypt's question."""
BY_CERT_MANAGER = ("self-signed", "letsencrypt", "issuer")


def certificate_namespaces(config: ClusterStackConfig) -> list[str]:
    """Namespaces that need the certificate: the Gateway's, or with Ingress each that is routed to."""
    routes = config.routes
    if routes.kind == "gateway":
        return [] if routes.gateway.existing else [names.GATEWAY_NAMESPACE]
    if merges_by_master(config):
        return [names.GATEWAY_NAMESPACE]
    return sorted({route.namespace for route in route_table(config)})


def certificate_objects(config: ClusterStackConfig, ingress_class: str | None) -> list[Object]:
    """Issuers and certificates. `ingress_class`: answers Let's Encrypt; None: our Gateway does."""
    tls = config.routes.tls
    if config.routes.kind == "none" or tls.kind not in BY_CERT_MANAGER:
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
        if merges_by_master(config):
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
    for namespace in certificate_namespaces(config):
        spec = {
            "secretName": CERTIFICATE,
            "dnsNames": hosts(config, None if namespace == names.GATEWAY_NAMESPACE else namespace),
            "issuerRef": {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": issuer},
        }
        certificate = build_object(API, "Certificate", CERTIFICATE, namespace, spec)
        if tls.kind == "letsencrypt" and merges_by_master(config):
            # the master redirects the challenge to https, which the controller refuses while there is no certificate
            certificate["metadata"]["annotations"] = {"cert-manager.io/issue-temporary-certificate": "true"}
        objects.append(certificate)
    return objects


def merges_by_master(config: ClusterStackConfig) -> bool:
    """Tell whether a master Ingress owns each host, which other Ingresses join as minions."""
    return config.routes.kind == "ingress" and config.routes.ingress.controller == "nginx-f5"


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
