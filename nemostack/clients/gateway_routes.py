"""Aliases by Envoy AI Gateway: an AIGatewayRoute each, which the gateway's controller makes a weighted HTTPRoute of.

The gateway reads the model's name in a body, chooses a route by it, draws one of the route's backends by weights, and
puts the name that stands there into the body. All backends of an alias are one and the same NIM. The definition is
`aigateway.envoyproxy.io/v1beta1` (Envoy AI Gateway 0.6 and later).

An alias joins the AIGatewayRoute that leads all other names to NIM, which a stack makes with
`routes.gateway.model_aliases`: it takes Gateway, hosts and time limits from there, and goes with it, for the controller
holds the deletion of its objects up until it has seen it. It also repeats that route's rule for all other names. To the
gateway both are of one rank, and the controller ends each of its routes with an answer 404 of the same rank: whichever
comes first, a plain name must reach NIM.

Refuses clusters without the definition or without such a route, names that another route of NIM's namespace has, and
what alias_objects.py refuses.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from nemostack.aliases import Alias, Route
from nemostack.clients.alias_objects import ALIAS_LABEL, AliasObjects, NothingRoutes, labels_of, whole_weights
from nemostack.errors import ServiceError
from nemostack.kubectl.client import Object

GROUP = "aigateway.envoyproxy.io"
VERSION = "v1beta1"
ROUTES = f"aigatewayroutes.{GROUP}"
SERVICES = f"aiservicebackends.{GROUP}"
BACKENDS = "backends.gateway.envoyproxy.io"
MODEL_HEADER = "x-ai-eg-model"
"""In which the gateway keeps the name that it has read in the body."""
MOST_BACKENDS = 16
"""Of a rule of the HTTPRoute that the controller makes."""
INSTALL = "Envoy AI Gateway routes by aliases with routes.gateway.model_aliases: true (docs/promotion.md)"


class GatewayRoutes(AliasObjects):
    """The aliases of the NIM behind one AIGatewayRoute."""

    kind = "AIGatewayRoute"
    known_as = (ROUTES,)
    install = INSTALL
    beside = (SERVICES, BACKENDS)

    @property
    def limits(self) -> str:
        """What the gateway does not do."""
        return "Envoy AI Gateway does not count users' requests for us, and draws a model for each request whoever asks"

    def require(self) -> None:
        """The definition must be there, and a route that leads to NIM."""
        self._entries(self.read_all())

    def manifest(self, name: str, alias: Alias, found: Sequence[Object], group: str) -> Object:
        """Return the route of an alias."""
        entry, rest = self._entry(found)
        self.require_free(name, (one for one in found if one["kind"] == self.kind and _routes(one, name)))
        shared = [{"name": rest["backendRefs"][0]["name"], **one} for one in shares_of(alias)]
        metadata = entry["metadata"]
        owner = {"apiVersion": entry["apiVersion"], "kind": self.kind, "name": metadata["name"], "uid": metadata["uid"]}
        own: Object = {
            "matches": [{"headers": [{"type": "Exact", "name": MODEL_HEADER, "value": name}]}],
            "backendRefs": shared,
            **{key: rest[key] for key in ("timeouts", "streamIdleTimeout") if key in rest},
        }
        spec = {key: entry["spec"][key] for key in ("parentRefs", "hostnames") if key in entry["spec"]}
        return {
            "apiVersion": f"{group}/{VERSION}",
            "kind": self.kind,
            "metadata": {**self.metadata(name), "ownerReferences": [owner]},
            "spec": {**spec, "rules": [own, rest]},
        }

    def routes_of(self, one: Object) -> tuple[Route, ...]:
        """Return where a route leads."""
        backends: list[dict[str, Any]] = one["spec"]["rules"][0]["backendRefs"]
        return tuple(
            Route(model=backend["modelNameOverride"], weight=backend.get("weight", 1))
            for backend in backends
            if not backend.get("priority") and backend.get("weight", 1)
        )

    def _entry(self, found: Sequence[Object]) -> tuple[Object, Object]:
        """Return the route that leads to NIM, and its rule that does."""
        entries = self._entries(found)
        if len(entries) > 1:
            several = ", ".join(sorted(route["metadata"]["name"] for route, _ in entries))
            raise ServiceError(
                f"several AIGatewayRoutes in {self._namespace} lead to NIM's Service {self._service} ({several})",
                hint="an alias joins one of them: leave one rule without header matches that leads there",
            )
        return entries[0]

    def _entries(self, found: Sequence[Object]) -> list[tuple[Object, Object]]:
        host = f"{self._service}.{self._namespace}.svc."
        backends = {
            one["metadata"]["name"]
            for one in found
            if one["kind"] == "Backend" and any(_host(point).startswith(host) for point in _endpoints(one))
        }
        services = {
            one["metadata"]["name"]
            for one in found
            if one["kind"] == "AIServiceBackend" and one["spec"]["backendRef"]["name"] in backends
        }
        entries = [
            (one, rule)
            for one in found
            if one["kind"] == self.kind and ALIAS_LABEL not in labels_of(one)
            for rule in one["spec"]["rules"]
            if not list(_headers(rule)) and any(to["name"] in services for to in rule.get("backendRefs") or ())
        ]
        if not entries:
            raise NothingRoutes(
                f"no AIGatewayRoute in {self._namespace} leads all names to NIM's Service {self._service}", hint=INSTALL
            )
        return entries


def shares_of(alias: Alias) -> list[Object]:
    """Return the models of an alias by weights, second the one that answers when another fails, last a spare place.

    Envoy hears of a change some seconds before the process beside it, which knows models by their number in this list,
    and answers 500 where it does not know the number. The spare place leads to the first model until a new one takes
    it, so that requests for a canary are answered by that one meanwhile.
    """
    weights = whole_weights(alias.routes)
    first = next(iter(weights))
    shares: list[Object] = [
        {"modelNameOverride": model, "weight": weight, "priority": 0} for model, weight in weights.items()
    ]
    shares.insert(1, {"modelNameOverride": first, "weight": 1, "priority": 1})
    shares.append({"modelNameOverride": first, "weight": 0, "priority": 0})
    return shares[:MOST_BACKENDS]


def _endpoints(backend: Object) -> list[Object]:
    endpoints: list[Object] = backend["spec"].get("endpoints") or []
    return endpoints


def _host(endpoint: Object) -> str:
    return str((endpoint.get("fqdn") or {}).get("hostname", "")) + "."


def _headers(rule: Object) -> Iterator[Object]:
    """Yield the header matches of a rule."""
    for match in rule.get("matches") or ():
        yield from match.get("headers") or ()


def _routes(one: Object, name: str) -> bool:
    """Whether a route has a rule for exactly this model."""
    return any(
        header["name"].lower() == MODEL_HEADER and header["value"] == name and header.get("type", "Exact") == "Exact"
        for rule in one["spec"]["rules"]
        for header in _headers(rule)
    )
