"""The way in: a gateway or Ingresses with their certificates, by the settings; or nothing, where port-forward serves.

What is made for which controller is decided in gateway.py, ingress.py and certificates.py.
Refuses a controller or Gateway of others that does not exist. The settings cannot know whether it does: a cluster that
the stack created may have got its controller since. So it is read as soon as there is a cluster, before any route.
A read's name is its setting, which a failure shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from infra import names, versions
from infra.config.network import Gateway as GatewaySettings
from infra.config.network import Routes as RoutesSettings
from infra.platform.helm import ChartStore
from infra.platform.routing import ai_gateway, ingress
from infra.platform.routing.certificates import certificate_objects
from infra.platform.routing.gateway import CONTROLLERS, gateway_objects
from infra.platform.routing.objects import GROUP, Object
from infra.topology import Topology


def envoy_values(gateway: GatewaySettings) -> Object:
    """Return the values of Envoy Gateway's chart.

    All definitions come with the prerequisites; the chart would bring Gateway API's experimental ones along.
    """
    return {"crds": {"enabled": False}, **(ai_gateway.extension_values() if gateway.model_aliases else {})}


@dataclass(frozen=True, kw_only=True)
class RoutesArgs:
    """`after`: definitions of Gateway API, cert-manager. A route waits for its namespace, not for what it leads to.

    `cert_manager`: whether the stack has one, which certificates of webhooks can come from.
    """

    settings: RoutesSettings
    target: str
    topology: Topology
    charts: ChartStore
    namespaces: Mapping[str, pulumi.Resource]
    cert_manager: bool = False
    after: Sequence[pulumi.Resource] = ()


class Routes(pulumi.ComponentResource):
    """Gateway or Ingresses."""

    def __init__(self, name: str, args: RoutesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nemostack:platform:Routes", name, None, opts)
        settings, routing = args.settings, args.topology.routing
        controller: list[pulumi.Resource] = []
        objects: list[Object] = []
        if settings.kind == "gateway":
            own = names.ENVOY_NAMESPACE in args.topology.foundation
            controller = self._envoy(args) if own else self._gateway_of_others(settings)
            objects = [
                *certificate_objects(settings, routing, None),
                *gateway_objects(settings, routing, args.target),
            ]
        elif settings.kind == "ingress":
            if settings.ingress.controller == "nginx":
                pulumi.log.warn(
                    "routes.ingress.controller: nginx is ingress-nginx, which has had no security fixes since March "
                    "2026: for minikube and existing installations only; traefik works everywhere",
                    self,
                )
            controller = [
                kubernetes.networking.v1.IngressClass.get(
                    "routes.ingress.controller", ingress.class_name(settings), pulumi.ResourceOptions(parent=self)
                )
            ]
            objects = [
                *certificate_objects(settings, routing, ingress.class_name(settings)),
                *ingress.ingress_objects(settings, routing),
            ]
        latest: dict[str, pulumi.Resource] = {}
        for manifest in objects:
            metadata = manifest["metadata"]
            name = "/".join(filter(None, (metadata.get("namespace"), metadata["name"])))
            namespace = args.namespaces.get(metadata.get("namespace", ""))
            # Each waits for the controller, so that on the way down the controller is there to clean up after it, and
            # for the one before it with its name: a policy for its route, a route for what it leads to.
            before = [*args.after, *controller, *filter(None, (namespace, latest.get(name)))]
            latest[name] = kubernetes.apiextensions.CustomResource(
                name,
                api_version=manifest["apiVersion"],
                kind=manifest["kind"],
                metadata=metadata,
                spec=manifest["spec"],
                opts=pulumi.ResourceOptions(parent=self, depends_on=before),
            )
        self.register_outputs({})

    def _envoy(self, args: RoutesArgs) -> list[pulumi.Resource]:
        after, gateway = [*args.after, args.namespaces[names.ENVOY_NAMESPACE]], args.settings.gateway
        releases: list[pulumi.Resource] = []
        if gateway.model_aliases:  # first, for its webhook puts a container into every proxy, and Envoy Gateway asks it
            releases.append(
                args.charts.release(
                    "ai-gateway",
                    versions.AI_GATEWAY,
                    namespace=names.ENVOY_NAMESPACE,
                    values=ai_gateway.controller_values(cert_manager=args.cert_manager),
                    opts=pulumi.ResourceOptions(parent=self, depends_on=after),
                )
            )
        envoy = args.charts.release(
            "envoy-gateway",
            versions.ENVOY_GATEWAY,
            namespace=names.ENVOY_NAMESPACE,
            values=envoy_values(gateway),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[*after, *releases]),
        )
        return [*releases, envoy]

    def _gateway_of_others(self, settings: RoutesSettings) -> list[pulumi.Resource]:
        """Read what tells that a controller and a Gateway that are not ours exist."""
        gateway_settings, created = settings.gateway, list[pulumi.Resource]()
        opts = pulumi.ResourceOptions(parent=self)
        if known_by := CONTROLLERS[gateway_settings.controller].known_by:
            definition = kubernetes.apiextensions.v1.CustomResourceDefinition
            created.append(definition.get("routes.gateway.controller", known_by, opts))
            if gateway_settings.model_aliases:
                created.append(definition.get("routes.gateway.model_aliases", ai_gateway.KNOWN_BY, opts))
        if gateway_settings.existing:
            resource = kubernetes.apiextensions.CustomResource
            created.append(
                resource.get("routes.gateway.existing", f"{GROUP}/v1", "Gateway", gateway_settings.existing, opts)
            )
        return created
