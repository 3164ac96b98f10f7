"""Which model each request asks for: the base model and its LoRA adapters, mixed.

An adapter is just another model id of the server. Ids come from NIM's `/v1/models`; one that is asked for but not
listed is refused before the run, with the list of what was found. The choice is a random process of its own, with
its own seed, so that changing the arrival process does not change who is asked.
"""

import random
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import httpx

MixKind = Literal["weights", "zipf", "round-robin"]


class PreflightError(Exception):
    """The run cannot start: what was tried, what came back, what to do."""


@dataclass(frozen=True, slots=True)
class ServedModels:
    """The base model and its adapters, sorted by id. `others`: served too, but not known to be adapters of it."""

    base: str
    adapters: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """Which of them are loaded."""
        count = len(self.adapters)
        return f"base model {self.base} and {count} adapter{'' if count == 1 else 's'}"


def discover(
    nim_url: str,
    *,
    base_model: str | None,
    wanted: Sequence[str] | None,
    api_key: str | None = None,
    transport: httpx.BaseTransport | None = None,
) -> ServedModels:
    """Read `/v1/models` and pick the base model and adapters.

    `wanted`: adapter ids, or None for every adapter of the base model. Raises PreflightError when the server does not
    answer, the base model is ambiguous or something wanted is not served.
    """
    url = f"{nim_url.rstrip('/')}/v1/models"
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        with httpx.Client(timeout=10, transport=transport) as http:
            reply = http.get(url, headers=headers)
            reply.raise_for_status()
            rows = {str(row["id"]): row for row in reply.json()["data"]}
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise PreflightError(f"GET {url} failed: {error}. Is NIM up, and is this its address?") from error
    found = ", ".join(sorted(rows)) or "none"
    roots = [model for model, row in rows.items() if not row.get("parent") or row["parent"] == model]
    if base_model is None:
        if len(roots) != 1:
            raise PreflightError(f"{url} lists {len(roots)} base models ({found}); name one with --base-model")
        base_model = roots[0]
    elif base_model not in rows:
        raise PreflightError(f"base model {base_model} is not served by {url}; found: {found}")
    served = sorted(model for model, row in rows.items() if row.get("parent") == base_model and model != base_model)
    if wanted is None:
        return ServedModels(base_model, tuple(served), tuple(sorted(set(rows) - {base_model, *served})))
    if missing := [model for model in wanted if model not in rows]:
        raise PreflightError(f"adapter {', '.join(missing)} is not served by {url}; found: {found}")
    return ServedModels(base_model, tuple(sorted(set(wanted) - {base_model})))


def no_adapters_hint(models: ServedModels) -> str:
    """Say how to get adapters under load when none was found."""
    if models.others:
        listed = ",".join(models.others)
        return f"no adapter names {models.base} as its parent; if these are adapters of it, use --adapters {listed}"
    return "NIM serves no adapter: `nemostack customize` trains one and leaves it there"


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the traffic. `base_share` of requests go to the base model, the rest to adapters by `kind`.

    weights: in proportion to `weights` (1 where not named; naming the base model overrides `base_share`).
    zipf: adapter at rank i gets 1 / i**zipf_s. round-robin: base and adapters in turn, the worst case for LoRA slots.
    """

    kind: MixKind = "weights"
    base_share: float = 0.2
    zipf_s: float = 1.0
    weights: tuple[tuple[str, float], ...] = ()

    def shares(self, models: ServedModels) -> dict[str, float]:
        """Model id -> expected share, summing to 1; base model first, then adapters by falling popularity."""
        if not models.adapters:
            return {models.base: 1.0}
        if self.kind == "round-robin":
            ids = (models.base, *models.adapters) if self.base_share > 0 else models.adapters
            return dict.fromkeys(ids, 1 / len(ids))
        named = dict(self.weights)
        if unknown := sorted(set(named) - {models.base, *models.adapters}):
            raise PreflightError(f"weight for {', '.join(unknown)}, which is not in this run; found: {_names(models)}")
        if self.kind == "zipf":
            raw = {model: 1 / rank**self.zipf_s for rank, model in enumerate(models.adapters, start=1)}
        else:
            raw = {model: named.get(model, 1.0) for model in models.adapters}
        if models.base in named:
            everything = {models.base: named[models.base], **raw}
            total = sum(everything.values())
            if total <= 0:
                raise PreflightError("all weights are zero: no model would be asked")
            return {model: weight / total for model, weight in everything.items() if weight > 0}
        total = sum(raw.values())
        if total <= 0:
            raise PreflightError("all adapter weights are zero: use --adapters none to load the base model alone")
        shares = {models.base: self.base_share, **{m: (1 - self.base_share) * w / total for m, w in raw.items()}}
        return {model: share for model, share in shares.items() if share > 0}

    def choices(self, models: ServedModels, *, seed: int, worker: int = 0) -> Iterator[str]:
        """Endless sequence of model ids for one worker."""
        shares = self.shares(models)
        ids, weights = list(shares), list(shares.values())
        if self.kind == "round-robin":
            turn = worker
            while True:
                yield ids[turn % len(ids)]
                turn += 1
        rng = random.Random(f"models:{seed}:{worker}")
        while True:
            yield from rng.choices(ids, weights, k=64)


def _names(models: ServedModels) -> str:
    return ", ".join((models.base, *models.adapters))


def cold_starts(models_in_send_order: Iterable[str], *, base: str, slots: int) -> list[bool]:
    """Which requests probably found their adapter not loaded: first use, or `slots` other adapters came in between.

    An estimate from the client's side; the base model is never cold. `slots` is the server's number of LoRA slots.
    """
    recent: OrderedDict[str, None] = OrderedDict()
    cold: list[bool] = []
    for model in models_in_send_order:
        if model == base:
            cold.append(False)
            continue
        cold.append(model not in recent)
        recent[model] = None
        recent.move_to_end(model)
        if len(recent) > slots:
            recent.popitem(last=False)
    return cold
