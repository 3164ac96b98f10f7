"""Access to the services, and their observation: routes, network policies, pod security, Prometheus."""

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from infra.config.platform import Mode
from infra.config.section import DnsLabel, Hostname, Section

HostKey = Literal["nemo", "nim", "data_store", "mlflow"]
HOSTS: tuple[HostKey, ...] = get_args(HostKey)
"""The hosts of a stack with routes, keys of the section `hosts`."""


class Hosts(Section):
    """Host names. Default: nemo., nim., data-store. and mlflow. in front of `routes.domain`."""

    nemo: Hostname | None = Field(
        default=None, description="Entity Store, Customizer, Evaluator and the others, told apart by path"
    )
    nim: Hostname | None = Field(default=None, description="The NIM proxy if it is enabled, else the first NIM")
    data_store: Hostname | None = Field(default=None, description="The Data Store")
    mlflow: Hostname | None = Field(default=None, description="The MLflow tracking server")


class Gateway(Section):
    """Routes through Gateway API."""

    controller: Literal["envoy", "gke", "istio", "traefik", "aws-lbc", "other"] = Field(
        default="envoy", description="Controller whose GatewayClass serves the routes"
    )
    install: bool = Field(
        default=True,
        description="Envoy Gateway only: install it with this stack. Other controllers must already be installed",
    )
    class_name: DnsLabel | None = Field(default=None, description="GatewayClass; default: the controller's usual one")
    existing: str | None = Field(
        default=None, pattern=r"^[a-z0-9-]+/[a-z0-9-]+$", description="Existing Gateway to attach to, namespace/name"
    )
    model_aliases: bool = Field(
        default=False,
        description="Envoy Gateway only: aliases of `nemostack promote` at the NIM host, by Envoy AI Gateway, which is "
        "installed where Envoy Gateway is",
    )


class Ingress(Section):
    """Routes through Ingress, for clusters without Gateway API."""

    controller: Literal["traefik", "alb", "nginx-f5", "nginx", "other"] = Field(
        default="traefik",
        description="nginx is the retired ingress-nginx: for existing installations and minikube only",
    )
    class_name: DnsLabel | None = Field(default=None, description="IngressClass; default: the controller's usual one")


class Tls(Section):
    """Certificates of the routes."""

    kind: Literal["none", "self-signed", "letsencrypt", "issuer", "secret", "acm"] = Field(
        default="none",
        description="From an existing ClusterIssuer (issuer), or an existing Secret with a certificate (secret); acm: "
        "AWS load balancers find the certificate in ACM by host name",
    )
    email: str | None = Field(default=None, description="E-mail address for Let's Encrypt")
    name: DnsLabel | None = Field(default=None, description="Name of the ClusterIssuer or Secret")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "letsencrypt" and not self.email:
            raise ValueError("kind: letsencrypt needs email")
        if self.kind in ("issuer", "secret") and not self.name:
            raise ValueError(f"kind: {self.kind} needs name")
        return self


class Routes(Section):
    """External access: Gateway API or Ingress, host names, TLS."""

    kind: Literal["gateway", "ingress", "none"] = Field(
        default="none", description="none: access by `nemostack port-forward` only"
    )
    domain: Hostname | None = Field(default=None, description="Domain of the default host names, e.g. nemo.<domain>")
    hosts: Hosts = Hosts()
    gateway: Gateway = Gateway()
    ingress: Ingress = Ingress()
    tls: Tls = Tls()
    proxy_namespace: DnsLabel | None = Field(
        default=None,
        description="Namespace of the controller's proxies, for network policies; default: the controller's usual one",
    )
    load_balancer_cidrs: tuple[str, ...] = Field(
        default=(),
        description="Networks from which load balancers reach pods directly (gke: proxy-only subnet, alb: its "
        "subnets), for network policies",
    )
    internal: bool = Field(default=True, description="Give the load balancer a private address only")
    stream_timeout_s: int = Field(
        default=3600,
        ge=60,
        le=86400,
        description="Maximum duration of a request in seconds: streams, long evaluations, uploads",
    )

    @property
    def controller(self) -> str:
        """The controller that serves the routes; of no account without routes."""
        return self.gateway.controller if self.kind == "gateway" else self.ingress.controller

    @property
    def merges_by_master(self) -> bool:
        """Whether a master Ingress owns each host, which other Ingresses join as minions."""
        return self.kind == "ingress" and self.ingress.controller == "nginx-f5"

    @property
    def scheme(self) -> Literal["http", "https"]:
        """`https` with a certificate, else `http`."""
        return "http" if self.tls.kind == "none" else "https"

    def host(self, key: HostKey) -> str | None:
        """The host name of one of the four, None where no domain is set."""
        chosen: str | None = getattr(self.hosts, key)
        if chosen or not self.domain:
            return chosen
        return f"{key.replace('_', '-')}.{self.domain}"


class Security(Section):
    """Network isolation and pod security."""

    network_policies: bool = Field(
        default=True,
        description="Deny all traffic of each namespace by default, and allow the connections that the stack needs",
    )
    pod_security: Literal["privileged", "baseline", "restricted"] = Field(
        default="baseline",
        description="Pod Security level enforced on the stack's namespaces; restricted is always warned about",
    )
    internet_cidrs: tuple[str, ...] = Field(
        default=("0.0.0.0/0",),
        description="Networks that may be reached for model downloads, private ranges excluded; []: none",
    )
    api_server_cidrs: tuple[str, ...] = Field(
        default=("0.0.0.0/0",),
        description="Addresses of the API server, which some services call; network policies cannot select it by name",
    )
    cilium: bool = Field(
        default=False,
        description="Cilium of your own enforces policies (CRD ciliumnetworkpolicies.cilium.io): it selects the API "
        "server, which is a node, by its entity only, not by an address",
    )
    node_local_dns: bool = Field(default=False, description="Also allow DNS to NodeLocal DNSCache, 169.254.20.10")
    clients: tuple[DnsLabel, ...] = Field(
        default=(), description="Additional namespaces whose pods may call the services"
    )


class Observability(Section):
    """Metrics and the dashboard."""

    prometheus: Mode = Field(
        default="skip", description="install kube-prometheus-stack, adopt an existing Prometheus operator, or skip"
    )
    namespace: DnsLabel = Field(default="monitoring", description="Namespace of Prometheus and Grafana")
    dcgm_exporter: bool = Field(
        default=True, description="Create a ServiceMonitor for the GPU operator's DCGM exporter"
    )
    dashboard: bool = Field(
        default=True, description="Create a ConfigMap with the Grafana dashboard, which Grafana's sidecar loads"
    )
    release_label: DnsLabel = Field(
        default="kube-prometheus-stack",
        description="Label `release` by which Prometheus selects monitors; also the name of an installed release",
    )
