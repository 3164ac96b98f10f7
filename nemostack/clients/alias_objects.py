"""Aliases that are objects of a cluster: what its two kinds of routers have in common.

An alias is one object `nemostack-NAME` in NIM's namespace, with our labels. It is read, written and removed with
kubectl, and what somebody else has made of it is not written over. Refuses shadows, names of models that NIM serves,
and models that it does not serve.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from math import gcd
from typing import ClassVar

from nemostack.aliases import MANAGED, Alias, AliasState, Route
from nemostack.clients.nim import Nim
from nemostack.errors import BadInput, Conflict, Forbidden, ServiceError
from nemostack.kubectl.client import Kubectl, Object

ALIAS_LABEL = "nemostack/alias"
MOST_WEIGHT = 1_000_000


class NothingRoutes(ServiceError):  # noqa: N818 - named for what happened, as in nemostack/errors.py
    """A way of routing by aliases is not there on this cluster, or does not lead to NIM."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message, 404, hint=hint)


class AliasObjects(ABC):
    """The aliases of one NIM. `service`: `namespace/name:port` of its Service in the cluster."""

    kind: ClassVar[str]
    """Of the object that is an alias."""
    known_as: ClassVar[tuple[str, ...]]
    """Its `plural.group`, in each group that defines it, the one that routers prefer first."""
    install: ClassVar[str]
    """How it comes to a cluster."""
    beside: ClassVar[tuple[str, ...]]
    """Resources that tell where it belongs, read with the aliases before a change."""

    def __init__(self, kubectl: Kubectl, service: str, nim: Nim) -> None:
        self._kubectl, self._nim = kubectl, nim
        self._namespace, _, named = service.partition("/")
        self._service = named.partition(":")[0]

    @property
    @abstractmethod
    def limits(self) -> str:
        """What this router does not do, as the end of a sentence."""

    @abstractmethod
    def require(self) -> None:
        """Raise NothingRoutes unless the objects are known to the cluster and lead to NIM."""

    @abstractmethod
    def manifest(self, name: str, alias: Alias, found: Sequence[Object], group: str) -> Object:
        """Return the object of an alias, from what was read. Conflict where somebody else has the name."""

    @abstractmethod
    def routes_of(self, one: Object) -> tuple[Route, ...]:
        """Return where an object of ours leads. KeyError, ValueError when somebody has made something else of it."""

    @property
    def resources(self) -> tuple[str, ...]:
        """Those of `known_as` that the cluster has. NothingRoutes where it has none."""
        served = tuple(one for one in self.known_as if one in self.served)
        if not served:
            raise NothingRoutes(f"the cluster ({self._kubectl.place}) has no {self.kind}", hint=self.install)
        return served

    def aliases(self) -> dict[str, AliasState]:
        """All aliases that we have set in NIM's namespace."""
        states: dict[str, AliasState] = {}
        for one in self._by_preference(self._read(*self.resources)):
            name, alias = labels_of(one).get(ALIAS_LABEL), self._alias_of(one)
            if name and alias is not None:
                states.setdefault(name, AliasState(name=name, alias=alias))
        return states

    def set_alias(self, name: str, alias: Alias) -> None:
        """Write the object of an alias, in each group: which one the router reads, the cluster does not say.

        NIM is asked for models that are new to the alias alone: a way back needs no NIM.
        """
        if alias.shadow is not None:
            raise BadInput(f"the alias {name} can have no shadow here: {self.limits}")
        found = self.read_all()
        before = next((self._alias_of(one) for one in self._by_preference(found) if self.is_of(one, name)), None)
        self._require_served(name, set(alias.models) - set(before.models if before is not None else ()))
        for manifest in [self.manifest(name, alias, found, _group(resource)) for resource in self.resources]:
            self._kubectl.apply(manifest)

    def remove_alias(self, name: str) -> None:
        """Delete the object of an alias, in each group that has it."""
        groups = {_group_of(one) for one in self.read_all() if self.is_of(one, name)}
        having = [resource for resource in self.resources if _group(resource) in groups]
        for resource in having or self.resources[:1]:
            self._kubectl.run("delete", resource, object_name(name), f"--namespace={self._namespace}")

    def is_of(self, one: Object, alias: str) -> bool:
        """Whether an object is ours, of an alias."""
        return bool(one["kind"] == self.kind and labels_of(one).get(ALIAS_LABEL) == alias)

    def require_free(self, name: str, leading: Iterable[Object]) -> None:
        """Raise Conflict unless the objects that lead a name, of whomever, are those of our alias."""
        theirs = [one["metadata"]["name"] for one in leading if not self.is_of(one, name)]
        if theirs:
            raise Conflict(
                f"the {self.kind} {', '.join(theirs)} in {self._namespace} leads {name} elsewhere already, and the "
                "oldest one wins",
                hint="take the name out of it, or choose another --alias",
            )

    def metadata(self, name: str) -> Object:
        """Return name, namespace and labels of the object of an alias."""
        labels = {**MANAGED, ALIAS_LABEL: name}
        return {"name": object_name(name), "namespace": self._namespace, "labels": labels}

    def read_all(self) -> list[Object]:
        """Return the objects, and what is beside them."""
        return self._read(*self.resources, *self.beside)

    @cached_property
    def served(self) -> frozenset[str]:
        """Resources that the cluster has, `plural.group`."""
        return frozenset(self._kubectl.run("api-resources", "--output=name").split())

    def _by_preference(self, objects: Sequence[Object]) -> list[Object]:
        """Return the objects that can be aliases, those of the group that routers prefer first."""
        groups = [_group(resource) for resource in self.resources]
        return sorted(
            (one for one in objects if one["kind"] == self.kind), key=lambda one: groups.index(_group_of(one))
        )

    def _alias_of(self, one: Object) -> Alias | None:
        try:
            return Alias(routes=self.routes_of(one))
        except (KeyError, ValueError):
            return None

    def _require_served(self, name: str, models: set[str]) -> None:
        if not models:
            return
        served = self._nim.models()
        if name in served:
            raise Conflict(f"{name} is the name of a model that NIM serves")
        if missing := models.difference(served):
            raise Conflict(
                f"the alias {name} cannot lead to {', '.join(sorted(missing))}: no such model is served by NIM"
            )

    def _read(self, *resources: str) -> list[Object]:
        objects, refused = self._kubectl.objects(resources, f"--namespace={self._namespace}")
        if refused:
            raise Forbidden(
                f"not all of {', '.join(resources)} in {self._namespace} can be read: {refused}",
                hint="ask for the right to read them, and to change the first",
            )
        return objects


def whole_weights(routes: Iterable[Route]) -> dict[str, int]:
    """Weights as both definitions take them, whole and at least 1: percents where those are whole, else millionths.

    A route without weight is left out, for rewrites have no 0.
    """
    weighted = {route.model: route.weight for route in routes if route.weight}
    total = sum(weighted.values())
    for whole in (100, MOST_WEIGHT):
        shares = {model: whole * weight / total for model, weight in weighted.items()}
        if whole == MOST_WEIGHT or all(abs(share - round(share)) < 1e-9 and share >= 1 for share in shares.values()):
            break
    rounded = {model: max(1, round(share)) for model, share in shares.items()}
    divisor = gcd(*rounded.values()) if whole == MOST_WEIGHT else 1
    return {model: weight // divisor for model, weight in rounded.items()}


def _group(resource: str) -> str:
    return resource.partition(".")[2]


def _group_of(one: Object) -> str:
    return str(one["apiVersion"]).partition("/")[0]


def object_name(alias: str) -> str:
    """Return the name of the object of an alias."""
    return f"nemostack-{alias}"


def labels_of(one: Object) -> dict[str, str]:
    """Return the labels of an object."""
    return one["metadata"].get("labels") or {}
