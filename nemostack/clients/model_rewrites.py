"""Aliases by an InferencePool: an InferenceModelRewrite each, by which the pool's router shares requests out.

NVIDIA's NIM has no aliases. Where the Gateway API Inference Extension leads requests to it, the pool's endpoint picker
(llm-d's router, formerly the extension's own) reads these objects and follows a change at once: in the place of the
name in the body it puts a model, drawn by weights for each request, and the name again in the place of the model in the
answer. The definition was in the extension, 1.2 to 1.5, as `inference.networking.x-k8s.io/v1alpha2`, and is in llm-d's
router, from 0.9, as `llm-d.ai/v1alpha2`. A router that finds both when it starts reads the latter alone, and an
older one knows the former alone. It looks once: a definition that comes later is read after its next start. No router
writes a status, so nothing here can tell which it reads: where both are defined, both are written.

Refuses clusters without the definition or without a pool over NIM's pods, names that another rewrite has (the oldest
would win), and what alias_objects.py refuses.
"""

from collections.abc import Sequence
from typing import Any

from nemostack.aliases import Alias, Route
from nemostack.clients.alias_objects import AliasObjects, NothingRoutes, labels_of, whole_weights
from nemostack.errors import ServiceError
from nemostack.kubectl.client import Object

GROUPS = ("llm-d.ai", "inference.networking.x-k8s.io")
"""API groups of the definition: the one that is preferred first."""
VERSION = "v1alpha2"
REWRITES = "inferencemodelrewrites"
POOL_GROUP = "inference.networking.k8s.io"
POOLS = f"inferencepools.{POOL_GROUP}"
INSTALL = (
    "the Gateway API Inference Extension with an InferencePool over NIM's pods whose endpoint picker is llm-d's router "
    "routes by aliases (docs/promotion.md)"
)


class ModelRewrites(AliasObjects):
    """The aliases of one pool."""

    kind = "InferenceModelRewrite"
    known_as = tuple(f"{REWRITES}.{group}" for group in GROUPS)
    install = INSTALL
    beside = (POOLS, "services", "pods")

    @property
    def limits(self) -> str:
        """What the pool's router does not do."""
        return (
            "the pool's router does not count users' requests for us, draws a model for each request whoever asks, and "
            "a request that its model fails has failed"
        )

    def require(self) -> None:
        """The definition must be there, and a pool over NIM's pods."""
        self._pools(self.read_all())

    def manifest(self, name: str, alias: Alias, found: Sequence[Object], group: str) -> Object:
        """Return the rewrite of an alias."""
        pool = self._pool(found)
        self.require_free(name, (one for one in found if one["kind"] == self.kind and _rewrites(one, name, pool)))
        targets = [{"modelRewrite": model, "weight": weight} for model, weight in whole_weights(alias.routes).items()]
        rule = {"matches": [{"model": {"type": "Exact", "value": name}}], "targets": targets}
        return {
            "apiVersion": f"{group}/{VERSION}",
            "kind": self.kind,
            "metadata": self.metadata(name),
            "spec": {"poolRef": {"group": POOL_GROUP, "kind": "InferencePool", "name": pool}, "rules": [rule]},
        }

    def routes_of(self, one: Object) -> tuple[Route, ...]:
        """Return where a rewrite leads."""
        (rule,) = one["spec"]["rules"]
        targets: list[dict[str, Any]] = rule["targets"]
        return tuple(Route(model=target["modelRewrite"], weight=target.get("weight", 1)) for target in targets)

    def _pool(self, found: Sequence[Object]) -> str:
        """Name of the pool that NIM's pods are in."""
        pools = self._pools(found)
        if len(pools) > 1:
            raise ServiceError(
                f"NIM's pods in {self._namespace} are in several InferencePools ({', '.join(sorted(pools))})",
                hint="an alias belongs to one of them: leave one, or give the pools selectors that differ",
            )
        return pools[0]

    def _pools(self, found: Sequence[Object]) -> list[str]:
        """Names of the pools that NIM's pods are in, one or more."""
        selector: dict[str, str] = next(
            (
                one["spec"].get("selector") or {}
                for one in found
                if one["kind"] == "Service" and one["metadata"]["name"] == self._service
            ),
            {},
        )
        pods = [labels_of(one) for one in found if one["kind"] == "Pod" and _within(selector, labels_of(one))]
        pools = [
            str(one["metadata"]["name"])
            for one in found
            if one["kind"] == "InferencePool"
            and any(_within(one["spec"]["selector"].get("matchLabels") or {}, labels) for labels in pods or [selector])
        ]
        if not pools:
            raise NothingRoutes(
                f"no InferencePool in {self._namespace} selects the pods of NIM's Service {self._service}, so an "
                f"{self.kind} would change nothing",
                hint=INSTALL,
            )
        return pools


def _within(wanted: dict[str, str], labels: dict[str, str]) -> bool:
    """Whether a selector that is not empty selects these labels."""
    return bool(wanted) and wanted.items() <= labels.items()


def _rewrites(one: Object, name: str, pool: str) -> bool:
    """Whether a rewrite is of this pool and has a rule for exactly this name.

    The pool's router reads no rewrite that names the pool in another group, and a rule for any name comes after ours.
    """
    spec = one["spec"]
    values = [match["model"]["value"] for rule in spec["rules"] for match in rule.get("matches") or ()]
    of_pool = (spec["poolRef"].get("group", POOL_GROUP), spec["poolRef"]["name"]) == (POOL_GROUP, pool)
    return of_pool and name in values
