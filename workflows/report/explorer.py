"""Every item with the answers of all approaches, as rows that the page can search and sort."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from workflows.results.approach import Approach, ItemResult
from workflows.results.metrics import BY_KEY, PRIMARY


def explorer_of(
    approaches: Sequence[Approach],
    items: Mapping[str, Sequence[ItemResult]],
    pair: tuple[str, str] | None,
    metric: str = PRIMARY,
) -> dict[str, Any] | None:
    """Content of explorer.html.j2; None where no approach has items. `pair`: names of baseline and candidate."""
    answered = {a.name: {item.index: item for item in items.get(a.name, ())} for a in approaches}
    labels = {a.name: a.label for a in approaches}
    shown = [approach for approach in approaches if answered[approach.name]]
    if not shown:
        return None
    if pair is not None and not all(answered.get(name) for name in pair):
        pair = None
    numbers = sorted({index for approach in shown for index in answered[approach.name]})
    return {
        "labels": [f"{approach.label} {BY_KEY[metric].label}" for approach in shown],
        "compared": pair is not None,
        "baseline": labels[pair[0]] if pair is not None else "",
        "candidate": labels[pair[1]] if pair is not None else "",
        "rows": [_row(number, shown, answered, metric, pair) for number in numbers],
    }


def _row(
    number: int,
    approaches: Sequence[Approach],
    answered: Mapping[str, Mapping[int, ItemResult]],
    metric: str,
    pair: tuple[str, str] | None,
) -> dict[str, Any]:
    own = {a.name: answered[a.name][number] for a in approaches if number in answered[a.name]}
    scores = [own[a.name].scores.get(metric) if a.name in own else None for a in approaches]
    gain = _gain(own, metric, pair)
    first = next(iter(own.values()))
    kinds = [] if gain is None else ["won" if gain > 0 else "lost" if gain < 0 else "even"]
    kinds += ["cut"] if any(item.cut for item in own.values()) else []
    keys = [float(number), *(math.nan if score is None else score for score in scores)]
    keys += [math.nan if gain is None else gain] if pair is not None else []
    return {
        "number": number + 1,
        "prompt": first.prompt,
        "reference": first.reference,
        "answers": [
            {"label": a.label, "output": own[a.name].output, "cut": own[a.name].cut, "scores": _said(own[a.name])}
            for a in approaches
            if a.name in own
        ],
        "scores": ["" if score is None else f"{score:.2f}" for score in scores],
        "gain": "" if gain is None else f"{gain:+.2f}",
        "kinds": kinds,
        "sort_keys": [f"{key:.6g}" for key in keys],
    }


def _gain(own: Mapping[str, ItemResult], metric: str, pair: tuple[str, str] | None) -> float | None:
    if pair is None or not all(name in own and metric in own[name].scores for name in pair):
        return None
    before, after = (own[name].scores[metric] for name in pair)
    return after - before


def _said(item: ItemResult) -> str:
    known = {key: value for key, value in item.scores.items() if key in BY_KEY}
    return ", ".join(f"{BY_KEY[key].label} {value:.2f}" for key, value in known.items())
