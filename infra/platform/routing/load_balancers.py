"""Annotations of Services of type LoadBalancer, for each cloud: private addresses, quiet streams. Pure.

A cloud reads its own annotations only, so a cluster of unknown origin gets all of them.
"""

GKE_INTERNAL = {"networking.gke.io/load-balancer-type": "Internal"}
EKS = {"service.beta.kubernetes.io/aws-load-balancer-type": "nlb"}
EKS_INTERNAL = {
    "service.beta.kubernetes.io/aws-load-balancer-internal": "true",  # the controller inside Kubernetes
    "service.beta.kubernetes.io/aws-load-balancer-scheme": "internal",  # AWS Load Balancer Controller
}
EKS_EXTERNAL = {"service.beta.kubernetes.io/aws-load-balancer-scheme": "internet-facing"}
AKS = {"service.beta.kubernetes.io/azure-load-balancer-tcp-idle-timeout": "30"}
"""Minutes. The default of 4 drops a connection on which a model thinks without a word."""
AKS_INTERNAL = {"service.beta.kubernetes.io/azure-load-balancer-internal": "true"}


def annotations(target: str, *, internal: bool) -> dict[str, str]:
    """Annotations of the Service that a gateway's controller makes."""
    clouds = {
        "gke": GKE_INTERNAL if internal else {},
        "eks": EKS | (EKS_INTERNAL if internal else EKS_EXTERNAL),
        "aks": AKS | (AKS_INTERNAL if internal else {}),
        "minikube": {},
    }
    if target in clouds:
        return clouds[target]
    return {key: value for notes in clouds.values() for key, value in notes.items()}
