"""The options of a load test that are about adapters: which are asked for how often, and what goes on beside them."""

import argparse
from collections.abc import Callable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from load_tests.traffic.blocks import FEWEST_BLOCKS, Contrast
from load_tests.traffic.popularity import Mix
from nemostack.errors import BadInput

Seconds = Callable[[str, str], float]


class Beside(BaseModel):
    """What goes on beside the measured load (`traffic/companions.py`), and what is compared in blocks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    contrast: Contrast | None = None
    neighbour: tuple[str, float] | None = None
    command: str = ""
    canary: tuple[str, str] | None = None
    churn_s: float | None = Field(default=None, gt=0)

    @property
    def aliases(self) -> dict[str, str]:
        """Names of models that objectives may use as a scope."""
        return {} if self.canary is None else {"stable": self.canary[0], "canary": self.canary[1]}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.contrast is not None and self.contrast.block_s <= 0:
            raise ValueError("--block must be above 0")
        return self


def add_options(add: Callable[..., object]) -> None:
    """Add the options by `add(name, **settings)`."""
    add(
        "--mix",
        default="weights",
        choices=["weights", "zipf", "hot-cold", "round-robin"],
        help="How traffic splits over adapters",
    )
    add("--base-share", type=float, default=0.2, help="Share of requests to the base model (default: 0.2)")
    add("--weights", default="", metavar="ID=W,...", help="Weights for --mix weights (1 where not named)")
    add("--zipf-s", type=float, default=1.0, help="Exponent for --mix zipf (default: 1)")
    add("--hot", type=int, default=1, help="Number of hot adapters for --mix hot-cold (default: 1)")
    add("--hot-share", type=float, default=0.9, help="Their share of the adapters' traffic (default: 0.9)")
    add("--rotate", metavar="TIME", help="Move popularity on to the next adapters each so often")
    add("--tenants", default="", metavar="NAME=SHARE,...", help="Shares of tenants, the namespaces of adapters' ids")
    add("--lora-slots", type=int, help="Server's adapter slots, where it does not say itself (default: 4)")
    add(
        "--interleave",
        action="store_true",
        help="Base model alone and adapters alone, in blocks by turns: what adapters cost",
    )
    add("--block", default="3s", metavar="TIME", help="Length of a block that is compared with others (default: 3s)")
    add("--neighbour", metavar="ID=RATE", help="Noisy neighbour: so many requests/s more to this adapter, in blocks")
    add(
        "--beside",
        default="",
        metavar="COMMAND",
        help="Run this (or chaos: clients that misbehave) in the middle third of the window: what does it cost?",
    )
    add("--needs-adapters", type=int, default=0, help="Refuse a server that lists fewer adapters (default: 0)")
    add("--canary", metavar="STABLE=CANARY", help="Two models, side by side: a share of requests to the new one")
    add("--canary-share", type=float, default=0.2, help="Share of requests to the canary (default: 0.2)")
    add("--churn", metavar="TIME", help="Load, ask and unload one more adapter each so often (where the server allows)")


def pairs(option: str, text: str) -> tuple[tuple[str, float], ...]:
    """Read `ID=NUMBER,...`. Raises BadInput."""
    found = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, number = part.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not name or not value >= 0:
            raise BadInput(f"{option}: {part!r} is not NAME=NUMBER with a number of 0 or more")
        found.append((name, value))
    return tuple(found)


def canary_from(text: str) -> tuple[str, str]:
    """Read `STABLE=CANARY`, ids of models. Raises BadInput."""
    stable, _, canary = text.partition("=")
    if not stable.strip() or not canary.strip() or stable.strip() == canary.strip():
        raise BadInput(f"--canary {text!r} is not STABLE=CANARY, the ids of two models")
    return stable.strip(), canary.strip()


def mix_from(options: argparse.Namespace, seconds: Seconds) -> Mix:
    """Check the options of the mix. Raises BadInput."""
    kind = options.mix
    if options.canary:
        if kind != "weights" or options.weights or options.tenants or options.rotate:
            raise BadInput("--canary decides the mix: leave --mix, --weights, --tenants and --rotate out")
        if not 0 < options.canary_share < 1:
            raise BadInput(f"--canary-share must be between 0 and 1, not {options.canary_share:g}")
        stable, canary = canary_from(options.canary)
        return Mix(base_share=0.0, weights=((stable, 1 - options.canary_share), (canary, options.canary_share)))
    if options.weights and kind != "weights":
        raise BadInput(f"--weights belongs to --mix weights, not {kind}")
    for name in ("base_share", "hot_share"):
        if not 0 <= getattr(options, name) <= 1:
            raise BadInput(f"--{name.replace('_', '-')} must be from 0 to 1, not {getattr(options, name):g}")
    if options.hot < 1:
        raise BadInput(f"--hot must be 1 or more, not {options.hot}")
    if kind == "round-robin" and (options.rotate or options.tenants):
        raise BadInput("--rotate and --tenants do not go with --mix round-robin, in which all adapters get the same")
    tenants = pairs("--tenants", options.tenants)
    if tenants and not sum(share for _, share in tenants):
        raise BadInput("--tenants: all shares are zero")
    rotate_s = seconds("--rotate", options.rotate) if options.rotate else None
    if rotate_s is not None and rotate_s <= 0:
        raise BadInput("--rotate must be above 0")
    return Mix(
        kind=kind,
        base_share=options.base_share,
        zipf_s=options.zipf_s,
        weights=pairs("--weights", options.weights),
        hot=options.hot,
        hot_share=options.hot_share,
        rotate_s=rotate_s,
        tenants=tenants,
    )


def beside_from(options: argparse.Namespace, seconds: Seconds, duration_s: float) -> dict[str, Any]:
    """Check what goes on beside the load, as fields of `Beside`. Raises BadInput."""
    kinds = [
        kind
        for kind, wanted in (
            ("base", options.interleave),
            ("neighbour", options.neighbour),
            ("beside", options.beside),
        )
        if wanted
    ]
    if len(kinds) > 1:
        raise BadInput("--interleave, --neighbour and --beside each compare blocks of the run: give one of them")
    fields: dict[str, Any] = {"command": options.beside.replace("{stack}", options.stack or "local")}
    if kinds:
        block_s = seconds("--block", options.block)
        if block_s <= 0 or duration_s / block_s < FEWEST_BLOCKS:
            raise BadInput(
                f"--block {options.block}: a window of {duration_s:g} s does not hold {FEWEST_BLOCKS} of them; "
                "take a longer --duration or a shorter --block"
            )
        fields["contrast"] = Contrast(kinds[0], block_s)  # type: ignore[arg-type]
    if options.neighbour:
        found = pairs("--neighbour", options.neighbour)
        if len(found) != 1 or found[0][1] <= 0:
            raise BadInput(f"--neighbour {options.neighbour!r} is not one ID=RATE with a rate above 0")
        fields["neighbour"] = found[0]
    if options.canary:
        fields["canary"] = canary_from(options.canary)
    if options.churn:
        fields["churn_s"] = seconds("--churn", options.churn)
    return fields
