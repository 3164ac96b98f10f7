"""Statistics of a score over items. NaN marks an item without a score: counted, and left out of the rest."""

import math
from collections.abc import Sequence
from typing import Any


def statistics(values: Sequence[float]) -> dict[str, Any]:
    """`stats` of a score. Variance and stddev are the population's; stderr = stddev / sqrt(count).

    All but `count`, `sum` and `nan_count` are null when there is no value.
    """
    known = [value for value in values if not math.isnan(value)]
    stats: dict[str, Any] = {"count": len(known), "sum": math.fsum(known), "nan_count": len(values) - len(known)}
    if not known:
        return stats | dict.fromkeys(("mean", "min", "max", "sum_squared", "variance", "stddev", "stderr"))
    mean = stats["sum"] / len(known)
    variance = math.fsum((value - mean) ** 2 for value in known) / len(known)
    return stats | {
        "mean": mean,
        "min": min(known),
        "max": max(known),
        "sum_squared": math.fsum(value * value for value in known),
        "variance": variance,
        "stddev": math.sqrt(variance),
        "stderr": math.sqrt(variance / len(known)),
    }


def score(values: Sequence[float], value: float | None = None) -> dict[str, Any]:
    """Make a score as results carry it; `value` is the mean unless given, and null when no item has one."""
    stats = statistics(values)
    return {"value": stats["mean"] if value is None else value, "stats": stats}
