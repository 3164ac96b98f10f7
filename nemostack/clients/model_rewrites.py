"""Aliases on Kubernetes: an InferenceModelRewrite each, by which the router of an InferencePool shares requests out.

NVIDIA's NIM has no aliases. Where the Gateway API Inference Extension leads requests to it, the pool's endpoint picker
(llm-d's router, formerly the extension's own) reads these objects and follows a change at once: in the place of the
name in the body it puts a model, drawn by weights for each request, and the name again in the place of the model in the
answer. The definition was in the extension, 1.2 to 1.5, as `inference.networking.x-k8s.io/v1alpha2`, and is in llm-d's
router, from 0.9, as `llm-d.ai/v1alpha2`. A router that finds both when it starts reads the latter alone, so that is
written here. It looks once: a definition that comes later is read after its next start. No router writes a status, so
nothing here can tell whether one reads a rewrite.

Refuses clusters without the definition or without a pool over NIM's pods, names that another rewrite has (the oldest
would win), shadows, and models that NIM does not serve.
"""

from collections.abc import Iterable, Sequence
from math import gcd
from typing import Any

from nemostack.aliases import Alias, AliasState, Route
from nemostack.clients.nim import Nim
from nemostack.errors import BadInput, Conflict, Forbidden, ServiceError
from nemostack.kubectl.client import Kubectl, Object

GROUPS = ("llm-d.ai", "inference.networking.x-k8s.io")
"""API groups of the definition: the one that is preferred first."""
VERSION = "v1alpha2"
KIND = "InferenceModelRewrite"
REWRITES = "inferencemodelrewrites"
POOL_GROUP = "inference.networking.k8s.io"
POOLS = f"inferencepools.{POOL_GROUP}"
OURS = {"app.kubernetes.io/managed-by": "nemostack"}
ALIAS_LABEL = "nemostack/alias"
MOST_WEIGHT = 1_000_000
_INSTALL = (
    "the Gateway API Inference Extension with an InferencePool over NIM's pods whose endpoint picker is llm-d's router "
    "routes by aliases (docs/promotion.md)"
)


class ModelRewrites:
    """The aliases of one pool. `service`: `namespace/name:port` of NIM's Service in the cluster."""

    def __init__(self, kubectl: Kubectl, service: str, nim: Nim) -> None:
        self._kubectl, self._nim = kubectl, nim
        self._namespace, _, named = service.partition("/")
        self._service = named.partition(":")[0]
        self._group: str | None = None

    @property
    def limits(self) -> str:
        """What the pool's router does not do."""
        return (
            "the pool's router does not count users' requests for us, draws a model for each request whoever asks, and "
            "a request that its model fails has failed"
        )

    def aliases(self) -> dict[str, AliasState]:
        """All aliases that we have set in NIM's namespace."""
        return {
            name: AliasState(name=name, alias=alias)
            for one in self._read(self._resource)
            if (name := _labels(one).get(ALIAS_LABEL)) and (alias := _alias_of(one)) is not None
        }

    def set_alias(self, name: str, alias: Alias) -> None:
        """Write the rewrite of an alias. NIM is asked for models that are new to it alone: a way back needs no NIM."""
        if alias.shadow is not None:
            raise BadInput(f"the alias {name} can have no shadow here: {self.limits}")
        found = self._read(self._resource, POOLS, "services", "pods")
        before = next((_alias_of(one) for one in found if _is_of(one, name)), None)
        self._require_served(name, set(alias.models) - set(before.models if before is not None else ()))
        pool = self._pool(found)
        theirs = [
            one["metadata"]["name"]
            for one in found
            if one["kind"] == KIND and not _is_of(one, name) and _rewrites(one, name, pool)
        ]
        if theirs:
            raise Conflict(
                f"the InferenceModelRewrite {', '.join(theirs)} in {self._namespace} leads {name} elsewhere already, "
                "and the oldest one wins",
                hint="take the name out of it, or choose another --alias",
            )
        self._kubectl.apply(self._rewrite(name, alias, pool))

    def remove_alias(self, name: str) -> None:
        """Delete the rewrite of an alias."""
        self._kubectl.run("delete", self._resource, _object_name(name), f"--namespace={self._namespace}")

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

    @property
    def _resource(self) -> str:
        if self._group is None:
            served = set(self._kubectl.run("api-resources", "--output=name").split())
            self._group = next((group for group in GROUPS if f"{REWRITES}.{group}" in served), "")
        if not self._group:
            raise ServiceError(
                f"the cluster ({self._kubectl.place}) has no {KIND}, so nothing in it routes by aliases, and NVIDIA's "
                "NIM does not either",
                404,
                hint=_INSTALL,
            )
        return f"{REWRITES}.{self._group}"

    def _read(self, *resources: str) -> list[Object]:
        objects, refused = self._kubectl.objects(resources, f"--namespace={self._namespace}")
        if refused:
            raise Forbidden(
                f"not all of {', '.join(resources)} in {self._namespace} can be read: {refused}",
                hint="ask for the right to read them, and to change the first",
            )
        return objects

    def _pool(self, found: Sequence[Object]) -> str:
        """Name of the pool that NIM's pods are in."""
        selector: dict[str, str] = next(
            (
                one["spec"].get("selector") or {}
                for one in found
                if one["kind"] == "Service" and one["metadata"]["name"] == self._service
            ),
            {},
        )
        pods = [_labels(one) for one in found if one["kind"] == "Pod" and _within(selector, _labels(one))]
        pools = [
            one["metadata"]["name"]
            for one in found
            if one["kind"] == "InferencePool"
            and any(_within(one["spec"]["selector"].get("matchLabels") or {}, labels) for labels in pods or [selector])
        ]
        if len(pools) == 1:
            return str(pools[0])
        if pools:
            raise ServiceError(
                f"NIM's pods in {self._namespace} are in several InferencePools ({', '.join(sorted(pools))})",
                hint="an alias belongs to one of them: leave one, or give the pools selectors that differ",
            )
        raise ServiceError(
            f"no InferencePool in {self._namespace} selects the pods of NIM's Service {self._service}, so an "
            f"{KIND} would change nothing",
            404,
            hint=_INSTALL,
        )

    def _rewrite(self, name: str, alias: Alias, pool: str) -> Object:
        targets = [{"modelRewrite": model, "weight": weight} for model, weight in whole_weights(alias.routes).items()]
        rule = {"matches": [{"model": {"type": "Exact", "value": name}}], "targets": targets}
        return {
            "apiVersion": f"{self._group}/{VERSION}",
            "kind": KIND,
            "metadata": {
                "name": _object_name(name),
                "namespace": self._namespace,
                "labels": {**OURS, ALIAS_LABEL: name},
            },
            "spec": {"poolRef": {"group": POOL_GROUP, "kind": "InferencePool", "name": pool}, "rules": [rule]},
        }


def whole_weights(routes: Iterable[Route]) -> dict[str, int]:
    """Weights as the definition takes them, whole and at least 1: percents where those are whole, else millionths.

    A route without weight is left out, for the definition has no 0.
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


def _object_name(alias: str) -> str:
    return f"nemostack-{alias}"


def _labels(one: Object) -> dict[str, str]:
    return one["metadata"].get("labels") or {}


def _is_of(one: Object, alias: str) -> bool:
    """Whether an object is our rewrite of an alias."""
    return bool(one["kind"] == KIND and _labels(one).get(ALIAS_LABEL) == alias)


def _within(wanted: dict[str, str], labels: dict[str, str]) -> bool:
    """Whether a selector that is not empty selects these labels."""
    return bool(wanted) and wanted.items() <= labels.items()


def _alias_of(one: Object) -> Alias | None:
    """Where a rewrite of ours leads; None when somebody has made something else of it."""
    try:
        (rule,) = one["spec"]["rules"]
        targets: list[dict[str, Any]] = rule["targets"]
        return Alias(
            routes=tuple(Route(model=target["modelRewrite"], weight=target.get("weight", 1)) for target in targets)
        )
    except (KeyError, ValueError):
        return None


def _rewrites(one: Object, name: str, pool: str) -> bool:
    """Whether a rewrite is of this pool and has a rule for exactly this name.

    The pool's router reads no rewrite that names the pool in another group, and a rule for any name comes after ours.
    """
    spec = one["spec"]
    values = [match["model"]["value"] for rule in spec["rules"] for match in rule.get("matches") or ()]
    of_pool = (spec["poolRef"].get("group", POOL_GROUP), spec["poolRef"]["name"]) == (POOL_GROUP, pool)
    return of_pool and name in values
