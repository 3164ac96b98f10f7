"""Which model a request asks for: how traffic splits over the base model, tenants and adapters, and how that moves.

| mix         | adapter at rank i (ids in order of the alphabet) gets                                        |
|-------------|----------------------------------------------------------------------------------------------|
| weights     | a share in proportion to its weight, 1 where none is named                                   |
| zipf        | 1 / i**zipf_s                                                                                |
| hot-cold    | the first `hot` share `hot_share` of the adapters' traffic evenly, the others the rest       |
| round-robin | its turn after the base model and all others: the worst case for the server's LoRA slots     |

`rotate_s` moves popularity on each so many seconds: the hottest adapters become the coldest, the next ones take their
place. A tenant is the namespace of an adapter's id (`legal` of `legal/contracts@cust-1`); shares for tenants are split
inside of each as the mix says.
"""

import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from load_tests.traffic.adapters import ServedModels
from nemostack.errors import BadInput

MixKind = Literal["weights", "zipf", "hot-cold", "round-robin"]


def tenant(model: str) -> str:
    """Return the namespace of a model's id; empty without one."""
    namespace, slash, _ = model.partition("/")
    return namespace if slash else ""


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the traffic. `base_share` of requests go to the base model, the rest to adapters by `kind`."""

    kind: MixKind = "weights"
    base_share: float = 0.2
    zipf_s: float = 1.0
    weights: tuple[tuple[str, float], ...] = ()
    hot: int = 1
    hot_share: float = 0.9
    rotate_s: float | None = None
    tenants: tuple[tuple[str, float], ...] = ()

    def shares(self, models: ServedModels) -> dict[str, float]:
        """Model id -> expected share when the run begins, summing to 1; base model first, then adapters by rank."""
        if not models.adapters:
            return {models.base: 1.0}
        if self.kind == "round-robin":
            ids = (models.base, *models.adapters) if self.base_share > 0 else models.adapters
            return dict.fromkeys(ids, 1 / len(ids))
        named = dict(self.weights)
        if unknown := sorted(set(named) - {models.base, *models.adapters}):
            raise BadInput(f"weight for {', '.join(unknown)}, which is not in this run; models: {_names(models)}")
        raw = self.of_adapters(models.adapters)
        if models.base in named:
            weights = {models.base: named[models.base], **raw}
            total = sum(weights.values())
            if total <= 0:
                raise BadInput("all weights are zero: no model would be asked")
            return {model: weight / total for model, weight in weights.items() if weight > 0}
        total = sum(raw.values())
        if total <= 0:
            raise BadInput("all adapter weights are zero: use --adapters none to load the base model alone")
        shares = {models.base: self.base_share, **{m: (1 - self.base_share) * w / total for m, w in raw.items()}}
        return {model: share for model, share in shares.items() if share > 0}

    def of_adapters(self, adapters: tuple[str, ...], turn: int = 0) -> dict[str, float]:
        """Weights of the adapters alone; `turn` says how often popularity has moved on."""
        step = self.hot if self.kind == "hot-cold" else 1
        shift = turn * step % len(adapters)
        order = (*adapters[shift:], *adapters[:shift])
        match self.kind:
            case "zipf":
                raw = {model: 1 / rank**self.zipf_s for rank, model in enumerate(order, start=1)}
            case "hot-cold":
                raw = self._hot_and_cold(order)
            case _:
                named = dict(self.weights)
                raw = {model: named.get(model, 1.0) for model in order}
        return self._by_tenant(raw) if self.tenants else raw

    def _hot_and_cold(self, order: tuple[str, ...]) -> dict[str, float]:
        if self.hot >= len(order):
            raise BadInput(f"--hot {self.hot}: there are {len(order)} adapters, so that none would be cold")
        cold = len(order) - self.hot
        return {
            model: self.hot_share / self.hot if rank < self.hot else (1 - self.hot_share) / cold
            for rank, model in enumerate(order)
        }

    def _by_tenant(self, raw: dict[str, float]) -> dict[str, float]:
        shares = dict(self.tenants)
        totals: dict[str, float] = defaultdict(float)
        for model, weight in raw.items():
            totals[tenant(model)] += weight
        if unknown := sorted(set(shares) - set(totals)):
            raise BadInput(f"no adapter of tenant {', '.join(unknown)}; tenants: {', '.join(sorted(totals))}")
        return {
            model: shares.get(owner, 0.0) * weight / totals[owner] if totals[owner := tenant(model)] else 0.0
            for model, weight in raw.items()
        }

    def choices(
        self,
        models: ServedModels,
        *,
        seed: int,
        worker: int = 0,
        now: Callable[[], float] = lambda: 0.0,
        only: Callable[[], Literal["base", "adapters"] | None] = lambda: None,
    ) -> Iterator[str]:
        """Endless sequence of model ids for one worker.

        `now`: seconds since the run began, by which popularity moves. `only`: what alone is asked for at the moment.
        """
        if not models.adapters:
            yield from itertools.repeat(models.base)
        shares = self.shares(models)
        if self.kind == "round-robin":
            yield from self._in_turn(models, tuple(shares), worker, only)
        rng = random.Random(f"models:{seed}:{worker}")
        base = shares.get(models.base, 0.0)
        drawn: dict[tuple[int, str | None], tuple[list[str], list[float]]] = {}
        while True:
            turn = int(now() / self.rotate_s) if self.rotate_s else 0
            part = only()
            if (turn, part) not in drawn:
                drawn[turn, part] = _cumulative(models, base, self.of_adapters(models.adapters, turn), part)
            ids, cumulative = drawn[turn, part]
            yield rng.choices(ids, cum_weights=cumulative)[0]

    @staticmethod
    def _in_turn(
        models: ServedModels, ids: tuple[str, ...], worker: int, only: Callable[[], str | None]
    ) -> Iterator[str]:
        turn = worker
        while True:
            match only():
                case "base":
                    yield models.base
                    continue
                case "adapters" if models.adapters:
                    yield models.adapters[turn % len(models.adapters)]
                case _:
                    yield ids[turn % len(ids)]
            turn += 1


def _cumulative(
    models: ServedModels, base_share: float, adapters: dict[str, float], part: str | None
) -> tuple[list[str], list[float]]:
    """Return ids and running sums of their weights, with zero weights left out."""
    if part == "base":
        return [models.base], [1.0]
    total = sum(adapters.values())
    weights = {model: (1 - base_share) * weight / total for model, weight in adapters.items()} if total else {}
    if part is None:
        weights = {models.base: base_share, **weights}
    weights = {model: weight for model, weight in weights.items() if weight > 0} or {models.base: 1.0}
    return list(weights), list(accumulate(weights.values()))


def _names(models: ServedModels) -> str:
    return ", ".join((models.base, *models.adapters))
