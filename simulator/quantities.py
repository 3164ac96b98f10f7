"""Quantities of Kubernetes (`500m`, `1Gi`), as numbers, and sums of the resources that pods ask for."""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|)")
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18} | {
    f"{unit}i": 1024 ** (power + 1) for power, unit in enumerate("KMGTPE")
}
Resources = dict[str, Decimal]


def parse(value: Any) -> Decimal | None:
    """Return the number that a quantity stands for, None if it is none."""
    match = QUANTITY.fullmatch(str(value))
    if not match:
        return None
    factor = Decimal("0.001") if match[2] == "m" else Decimal(UNITS[match[2]])
    return Decimal(match[1]) * factor


def resources(quantities: dict[str, Any] | None) -> Resources:
    """Return the numbers of a map of quantities, by the name of the resource."""
    numbers = {name: parse(value) for name, value in (quantities or {}).items()}
    return {name: number for name, number in numbers.items() if number is not None}


def requested(pod_spec: dict[str, Any]) -> Resources:
    """Return what a pod asks for: the sum over its containers. A limit without a request counts as one."""
    return total(
        resources((container.get("resources") or {}).get("limits"))
        | resources((container.get("resources") or {}).get("requests"))
        for container in pod_spec["containers"]
    )


def total(parts: Iterable[Resources]) -> Resources:
    """Return the sum of resources."""
    result: Resources = {}
    for part in parts:
        for name, number in part.items():
            result[name] = result.get(name, Decimal(0)) + number
    return result
