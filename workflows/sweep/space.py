"""What a sweep may try, and how: the grid, at random, by Optuna's TPE sampler, or at random with successive halving.

Refuses empty lists, values that a LoRA job does not take, and a search without an end.
"""

import itertools
import random
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nemostack.models import Model

Search = Literal["grid", "random", "tpe", "halving"]
SEARCHES: tuple[Search, ...] = ("grid", "random", "tpe", "halving")
Rank = Annotated[int, Field(ge=1, le=256)]
Rate = Annotated[float, Field(gt=0)]
Epochs = Annotated[int, Field(ge=1)]


class Choice(Model):
    """Hyperparameters of one trial."""

    adapter_dim: int
    learning_rate: float
    epochs: int

    def __str__(self) -> str:
        return f"rank {self.adapter_dim}, learning rate {self.learning_rate:.3g}, epochs {self.epochs}"


class SweepSettings(Model):
    """The space. Learning rates are a list for the grid, and the ends of a range for the other searches."""

    search: Search = "grid"
    ranks: tuple[Rank, ...] = Field(default=(8, 16), min_length=1)
    learning_rates: tuple[Rate, ...] = Field(default=(1e-4, 1e-3), min_length=1)
    epochs: tuple[Epochs, ...] = Field(default=(1,), min_length=1)
    trials: int | None = Field(default=None, ge=1, le=1000, description="None: the whole grid, else 10")
    reduction: int = Field(default=3, ge=2, description="halving: one in so many goes on at each rung")

    @model_validator(mode="after")
    def _a_range_has_two_ends(self) -> Self:
        if self.search != "grid" and len(self.learning_rates) > 2:
            raise ValueError(
                f"learning_rates: {self.search} takes the two ends of a range, not {len(self.learning_rates)}"
            )
        return self

    @property
    def count(self) -> int:
        """Trials in all."""
        whole = len(set(self.ranks)) * len(set(self.learning_rates)) * len(set(self.epochs))
        if self.search == "grid":
            return min(whole, self.trials or whole)
        return self.trials or 10

    def grid(self, seed: int) -> list[Choice]:
        """Every combination in order; a random part of them where `trials` is less than all."""
        unique = (dict.fromkeys(values) for values in (self.ranks, self.learning_rates, self.epochs))
        cells = [Choice(adapter_dim=r, learning_rate=rate, epochs=e) for r, rate, e in itertools.product(*unique)]
        if self.count == len(cells):
            return cells
        return [cells[place] for place in sorted(random.Random(seed).sample(range(len(cells)), self.count))]

    @property
    def rate_range(self) -> tuple[float, float]:
        """Ends of the range of learning rates, which is searched on a logarithmic scale."""
        return min(self.learning_rates), max(self.learning_rates)
