"""What machines with GPUs cost: the table of list prices that all packages use, or one of the user's own.

Refuses a table with unknown keys or without sources, and a name that means no row or several.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Final, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from nemostack.errors import BadInput
from nemostack.models import Model
from nemostack.validation import validation_lines

TABLE: Final = Path(__file__).with_name("prices.yaml")


class Price(Model):
    """What a machine costs: `usd_per_hour` from and to, for all its `gpus`; `source` and `as_of`: where it was read."""

    name: str
    gpu: str
    gpus: int = Field(ge=1)
    usd_per_hour: tuple[float, float]
    machine: str = ""
    source: str
    as_of: date

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        low, high = self.usd_per_hour
        if not 0 <= low <= high:
            raise ValueError(f"usd_per_hour goes from {low:g} to {high:g}")
        return self

    @property
    def usd_per_gpu_hour(self) -> float:
        """The higher end, for a limit that holds by it holds by the lower one as well."""
        return self.usd_per_hour[1] / self.gpus

    @property
    def in_words(self) -> str:
        """Say what a GPU hour is reckoned at, whose price that is, and of which day."""
        low, high = self.usd_per_hour
        spread = "" if low == high else f", the higher end of {low / self.gpus:g} to {high / self.gpus:g}"
        of = ", ".join(filter(None, [self.name, self.machine, self.as_of.isoformat()]))
        return f"{self.usd_per_gpu_hour:g} USD a GPU hour{spread}: {of}"


class _Table(Model):
    version: Literal[1]
    prices: list[Price] = Field(min_length=1)


def read_prices(path: Path = TABLE) -> list[Price]:
    """Read a price table. Raises BadInput with one line an error."""
    try:
        return _Table.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).prices
    except ValidationError as error:
        raise BadInput("\n  ".join([f"{path} is not a valid price table:", *validation_lines(error)])) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"cannot read price table {path}: {' '.join(str(error).split())}") from error


def pick(prices: Sequence[Price], name: str) -> Price:
    """Return the price of a machine by its name, or the only one of a GPU. Raises BadInput."""
    rows = [p for p in prices if p.name == name] or [p for p in prices if p.gpu.lower() == name.lower()]
    if len(rows) != 1:
        known = ", ".join(f"{p.name} ({p.gpu})" for p in prices)
        problem = "more than one price" if rows else "no price"
        raise BadInput(f"{problem} for {name!r}; the table has {known}")
    return rows[0]
