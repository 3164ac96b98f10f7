"""Aliases on the NeMo Platform: virtual models of its inference gateway.

A virtual model without middleware leads to one model entity. With the gateway's own middleware `nemo-switchyard` it
draws one of two for each chat (`random_routing`): the alias's first model is the weak one, the other the strong one
with its share of the requests. The platform has no weights beyond these two, no shadow, no counts that could be read,
and nothing that keeps a user with one model. The gateway reads virtual models every few seconds: so long a change
takes.

Refuses what cannot be said like this, models that the gateway has no route to, and names that lead to a model already
or have other middleware.
"""

from typing import TYPE_CHECKING, Any

from nemostack.aliases import Alias, AliasState, Route
from nemostack.clients.polling import Pace, wait_for
from nemostack.errors import BadInput, Conflict

if TYPE_CHECKING:
    from nemostack.clients.platform import Platform

MIDDLEWARE, CONFIG = "nemo-switchyard", "random_routing"
_ADAPTERS = "&adapters/"
_LATER = ("response_middleware", "post_response_middleware")
_ROUTED_WITHIN_S = 60.0


class VirtualModels:
    """The aliases in a platform's workspace. Clients ask for `workspace/alias`, or for the alias alone."""

    def __init__(self, platform: "Platform", pace: Pace | None = None) -> None:
        self._platform, self._pace = platform, pace

    @property
    def limits(self) -> str:
        """What the platform's gateway does not do."""
        return (
            "the gateway does not count users' requests for us, draws a model for each request whoever asks, takes "
            "chats alone while it shares them out, and a request that its model fails has failed"
        )

    def aliases(self) -> dict[str, AliasState]:
        """All virtual models that could be ours: made by somebody, and without other middleware."""
        return {
            one["name"]: AliasState(name=one["name"], alias=alias)
            for one in self._platform.virtual_models()
            if not one.get("autoprovisioned") and (alias := alias_of(one)) is not None
        }

    def set_alias(self, name: str, alias: Alias) -> None:
        """Write the virtual model of an alias; of a new one, wait until the gateway has a route of this name."""
        before = self._platform.virtual_model(name)
        if before is not None and (before.get("autoprovisioned") or alias_of(before) is None):
            raise Conflict(
                f"{self._platform.workspace}/{name} is a virtual model that no alias of ours can replace: it is a "
                "model's own, or has other middleware",
                hint="choose another --alias",
            )
        self._platform.save_virtual_model(name, self._fields(name, alias))
        if before is not None:
            return
        routed = f"{self._platform.workspace}/{name}"
        wait_for(
            self._platform.served,
            done=lambda served: routed in served,
            describe=lambda served: f"it routes {', '.join(sorted(served)) or 'nothing'}",
            what=f"the inference gateway's route {routed}",
            deadline_s=_ROUTED_WITHIN_S,
            pace=self._pace,
        )

    def remove_alias(self, name: str) -> None:
        """Delete the virtual model of an alias."""
        self._platform.delete_virtual_model(name)

    def _fields(self, name: str, alias: Alias) -> dict[str, Any]:
        routes = [route for route in alias.routes if route.weight]
        if alias.shadow is not None or len(routes) > 2:
            raise BadInput(f"the alias {name} can lead to two models at most, without a shadow: {self.limits}")
        entities = [self._entity(name, route.model) for route in routes]
        calls = []
        if len(routes) == 2:
            stable, other = ({"model": entity} for entity in entities)
            share = routes[1].weight / (routes[0].weight + routes[1].weight)
            config = {"strong": other, "weak": stable, "strong_probability": share, "enable_stats": False}
            calls = [{"name": MIDDLEWARE, "config_type": CONFIG, "config": config}]
        return {"default_model_entity": entities[0], "request_middleware": calls}

    def _entity(self, name: str, model: str) -> str:
        """Return the model entity behind what clients call a model: its own virtual model knows."""
        workspace, _, own = model.rpartition("/")
        found = self._platform.within(workspace or self._platform.workspace).virtual_model(own)
        entity = None if found is None else found.get("default_model_entity")
        if not entity:
            raise Conflict(f"the alias {name} cannot lead to {model}: no such model is served by the gateway")
        return str(entity)


def alias_of(virtual: dict[str, Any]) -> Alias | None:
    """Where a virtual model leads, by the names that clients use; None for one that is more than an alias."""
    stable, calls = virtual.get("default_model_entity"), virtual.get("request_middleware") or []
    if not stable or virtual.get("override_proxy") or any(virtual.get(key) for key in _LATER):
        return None
    if not calls:
        return Alias(routes=(Route(model=model_of(stable), weight=100),))
    try:
        (call,) = calls
        config = call["config"]
        share, other = config["strong_probability"], config["strong"]["model"]
        if (call["name"], call["config_type"], config["weak"]["model"]) != (MIDDLEWARE, CONFIG, stable):
            return None
        return Alias(
            routes=(
                Route(model=model_of(stable), weight=round(100 * (1 - share), 6)),
                Route(model=model_of(other), weight=round(100 * share, 6)),
            )
        )
    except (KeyError, TypeError, ValueError):
        return None


def model_of(entity: str) -> str:
    """Return what clients call a model entity: an adapter by its own name, without its base model's."""
    return entity.partition(_ADAPTERS)[2] or entity
