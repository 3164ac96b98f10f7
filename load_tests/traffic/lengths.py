"""Numbers of tokens, drawn from a distribution: `128`, `64-256`, `normal:200,50`, `lognormal:150,400`.

| text                   | number of tokens                                             |
|------------------------|--------------------------------------------------------------|
| `128`                  | always 128                                                   |
| `64-256`               | any whole number from 64 to 256, each as likely              |
| `normal:MEAN,STD`      | a normal distribution, rounded, never below 1                |
| `lognormal:MEDIAN,P95` | a log-normal one, as the lengths of real requests mostly are |

Refuses what is no such text, and lengths below 1.
"""

import math
import random
from statistics import NormalDist
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from nemostack.errors import BadInput

_Z95: Final = NormalDist().inv_cdf(0.95)


class Lengths(BaseModel):
    """A distribution. `first` and `second` are the numbers of the text, in its order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["fixed", "uniform", "normal", "lognormal"]
    first: float
    second: float

    def draw(self, rng: random.Random) -> int:
        """Draw a number of tokens, at least 1."""
        match self.kind:
            case "fixed":
                return int(self.first)
            case "uniform":
                return rng.randint(int(self.first), int(self.second))
            case "normal":
                return max(1, round(rng.gauss(self.first, self.second)))
            case "lognormal":
                sigma = math.log(self.second / self.first) / _Z95
                return max(1, round(rng.lognormvariate(math.log(self.first), sigma)))

    def __str__(self) -> str:
        """Say it as the option has it."""
        if self.kind == "fixed":
            return f"{self.first:g}"
        if self.kind == "uniform":
            return f"{self.first:g}-{self.second:g}"
        return f"{self.kind}:{self.first:g},{self.second:g}"


def read_lengths(option: str, text: str) -> Lengths:
    """Read a distribution. Raises BadInput, naming the option."""
    kind, colon, numbers = text.partition(":")
    if not colon:
        kind, numbers = ("uniform", text.replace("-", ",")) if "-" in text else ("fixed", f"{text},{text}")
    try:
        first, second = (float(number) for number in numbers.split(","))
        made = Lengths(kind=kind, first=first, second=second)
    except ValueError:
        raise BadInput(
            f"{option} {text!r} is not a number of tokens: 128, 64-256, normal:MEAN,STD or lognormal:MEDIAN,P95"
        ) from None
    whole = made.kind not in {"fixed", "uniform"} or (first.is_integer() and second.is_integer())
    ordered = made.kind == "normal" or second >= first
    if not (whole and ordered and math.isfinite(first + second) and first >= 1 and second >= 0):
        raise BadInput(f"{option} {text!r}: lengths are 1 or more, and the second number is not below the first")
    return made
