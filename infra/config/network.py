"""How the services are reached and what may reach them: routes, policies, pod security; and what watches them."""

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from infra.config.platform import Mode
from infra.config.section import DnsLabel, Hostname, Section

HostKey = Literal["nemo", "nim", "data_store", "mlflow"]
HOSTS: tuple[HostKey, ...] = get_args(HostKey)
"""The hosts of a stack with routes, keys of the section `hosts`."""


class Hosts(Section):
    """Host names; default: nemo., nim., data-store., mlflow. before `routes.domain`."""

    nemo: Hostname | None = Field(default=None, description="Entity Store, Customizer, Evaluator share its path space")
    nim: Hostname | None = Field(default=None, description="The NIM proxy if it runs, else the first NIM")
    data_store: Hostname | None = Field(default=None, description="The Data Store")
    mlflow: Hostname | None = Field(default=None, description="The tracking server, to be named to MLflow clients")


class Gateway(Section):
    """Gateway API."""

    controller: Literal["envoy", "gke", "istio", "traefik", "aws-lbc", "other"] = Field(
        default="envoy", description="Whose GatewayClass serves the routes"
    )
    install: bool = Field(default=True, description="Envoy Gateway only: a release of ours; others must be there")
    class_name: DnsLabel | None = Field(default=None, description="GatewayClass; default: the controller's usual one")
    existing: str | None = Field(
        default=None, pattern=r"^[a-z0-9-]+/[a-z0-9-]+$", description="namespace/name of a Gateway to attach to"
    )


class Ingress(Section):
    """Ingress, for clusters without Gateway API."""

    controller: Literal["traefik", "alb", "nginx-f5", "nginx", "other"] = Field(
        default="traefik", description="nginx: the retired ingress-nginx, for existing installations and minikube only"
    )
    class_name: DnsLabel | None = Field(default=None, description="IngressClass; default: the controller's usual one")


class Tls(Section):
    """Certificates of the routes."""

    kind: Literal["none", "self-signed", "letsencrypt", "issuer", "secret", "acm"] = Field(
        default="none",
        description="issuer: an existing ClusterIssuer; secret: a certificate you bring; acm: AWS load balancers find "
        "it in ACM by host name",
    )
    email: str | None = Field(default=None, description="For Let's Encrypt")
    name: DnsLabel | None = Field(default=None, description="Of the ClusterIssuer or Secret")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "letsencrypt" and not self.email:
            raise ValueError("kind: letsencrypt needs email")
        if self.kind in ("issuer", "secret") and not self.name:
            raise ValueError(f"kind: {self.kind} needs name")
        return self


class Routes(Section):
    """The way in."""

    kind: Literal["gateway", "ingress", "none"] = Field(
        default="none", description="none: by `nemostack port-forward` only"
    )
    domain: Hostname | None = Field(default=None, description="Hosts are made from it, e.g. nemo.<domain>")
    hosts: Hosts = Hosts()
    gateway: Gateway = Gateway()
    ingress: Ingress = Ingress()
    tls: Tls = Tls()
    proxy_namespace: DnsLabel | None = Field(
        default=None, description="Where the controller's proxies run, for network policies; default: the usual one"
    )
    load_balancer_cidrs: tuple[str, ...] = Field(
        default=(),
        description="Networks of load balancers that reach pods directly (gke: proxy-only subnet, alb: its subnets), "
        "for network policies",
    )
    internal: bool = Field(default=True, description="Load balancer with a private address only")
    stream_timeout_s: int = Field(
        default=3600, ge=60, le=86400, description="Longest request: streams, long evaluations, uploads"
    )

    def host(self, key: HostKey) -> str | None:
        """The host name of one of the four, None where no domain is set."""
        said: str | None = getattr(self.hosts, key)
        if said or not self.domain:
            return said
        return f"{key.replace('_', '-')}.{self.domain}"


class Security(Section):
    """Walls inside the cluster."""

    network_policies: bool = Field(default=True, description="Default deny a namespace, with the ways the stack needs")
    pod_security: Literal["privileged", "baseline", "restricted"] = Field(
        default="baseline", description="Enforced on our namespaces; restricted is warned about in any case"
    )
    internet_cidrs: tuple[str, ...] = Field(
        default=("0.0.0.0/0",),
        description="Where downloads of models may go (private ranges are left out); empty: nowhere",
    )
    api_server_cidrs: tuple[str, ...] = Field(
        default=("0.0.0.0/0",),
        description="Where the API server is, which controllers among the services call; policies cannot name it",
    )
    node_local_dns: bool = Field(default=False, description="Also allow DNS to 169.254.20.10")
    clients: tuple[DnsLabel, ...] = Field(default=(), description="Further namespaces whose pods may call the services")


class Observability(Section):
    """Metrics and dashboard."""

    prometheus: Mode = Field(default="skip", description="kube-prometheus-stack: install it, or use one that is there")
    namespace: DnsLabel = Field(default="monitoring", description="Where Prometheus and Grafana run")
    dcgm_exporter: bool = Field(default=True, description="ServiceMonitor of the GPU operator's DCGM exporter")
    dashboard: bool = Field(default=True, description="Grafana dashboard as a ConfigMap that its sidecar finds")
    release_label: DnsLabel = Field(
        default="kube-prometheus-stack", description="Release of Prometheus, whose name is the label it selects by"
    )
