"""Aliases of a stack on Kubernetes: by the router of an InferencePool where NIM's pods are in one, else by a gateway.

The choice is made when aliases are first asked for, and by the cluster alone: rewrites where they are defined and a
pool selects NIM's pods, else routes of Envoy AI Gateway where one leads to NIM. Refuses a cluster with neither, and
names what each lacks and how both come there.
"""

from functools import cached_property

from nemostack.aliases import Alias, AliasState
from nemostack.clients.alias_objects import AliasObjects, NothingRoutes
from nemostack.clients.gateway_routes import GatewayRoutes
from nemostack.clients.model_rewrites import ModelRewrites
from nemostack.clients.nim import Nim
from nemostack.kubectl.client import Kubectl

WAYS: tuple[type[AliasObjects], ...] = (ModelRewrites, GatewayRoutes)
"""The one that is preferred first: it draws where requests are placed on NIM's pods anyway."""


class ClusterAliases:
    """The aliases of the NIM of a stack, wherever its cluster keeps them."""

    def __init__(self, kubectl: Kubectl, service: str, nim: Nim) -> None:
        self._kubectl, self._service, self._nim = kubectl, service, nim

    @cached_property
    def router(self) -> AliasObjects:
        """Who routes by aliases on this cluster."""
        missing = []
        for way in WAYS:
            router = way(self._kubectl, self._service, self._nim)
            try:
                router.require()
            except NothingRoutes as error:
                missing.append(error)
            else:
                return router
        raise NothingRoutes(
            "nothing in front of NIM routes by aliases, and NVIDIA's NIM does not either: "
            + "; ".join(str(error.args[0]) for error in missing),
            hint="; or ".join(error.hint for error in missing),
        )

    @property
    def limits(self) -> str:
        """What the router does not do."""
        return self.router.limits

    def aliases(self) -> dict[str, AliasState]:
        """All aliases by name."""
        return self.router.aliases()

    def set_alias(self, name: str, alias: Alias) -> None:
        """Let an alias lead elsewhere."""
        self.router.set_alias(name, alias)

    def remove_alias(self, name: str) -> None:
        """Forget an alias."""
        self.router.remove_alias(name)
