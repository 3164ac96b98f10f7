"""Where a watch gets questions and answers of an alias from.

The local stack's NIM samples what users ask (`Samples`). Nobody does so elsewhere: there the watch asks test questions
of the run of the alias's models, by their weights (`Probes`). That shows answers that have become worse, and nothing of
what users ask.
"""

import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from nemostack.aliases import AliasRouter, Sampled, Sampling
from nemostack.clients.nim import Nim
from nemostack.errors import NotFound

PROBES = 50
"""Questions at each reading."""


class Traffic(Protocol):
    """Questions and answers, reading by reading."""

    def begin(self) -> None:
        """Start to collect."""

    def fresh(self) -> list[Sampled]:
        """Return what is new since the last reading."""

    def end(self) -> None:
        """Drop what was collected."""


@dataclass
class Samples:
    """What users ask, sampled by NIM in its memory."""

    nim: Nim
    name: str
    sampling: Sampling
    _last: int = 0

    def begin(self) -> None:
        self.nim.sample(self.name, self.sampling)

    def fresh(self) -> list[Sampled]:
        found = self.nim.samples(self.name, self._last)
        self._last = max([self._last, *(one.number for one in found)])
        return found

    def end(self) -> None:
        """Let NIM drop the sample. An alias that has gone has taken it along."""
        with contextlib.suppress(NotFound):
            self.nim.end_sampling(self.name)


@dataclass
class Probes:
    """Test questions that are asked anew. `ask` answers a question by a model."""

    router: AliasRouter
    name: str
    prompts: Sequence[str]
    ask: Callable[[str, str], str]
    draw: random.Random = field(default_factory=random.Random)
    _asked: int = 0

    def begin(self) -> None:
        """Nothing is collected before it is asked for."""

    def fresh(self) -> list[Sampled]:
        """Ask PROBES questions of the models that the alias leads to now."""
        state = self.router.aliases().get(self.name)
        if state is None:
            raise NotFound(f"the alias {self.name} has gone while it was watched")
        models = [route.model for route in state.alias.routes]
        weights = [route.weight for route in state.alias.routes]
        found = []
        for prompt in self.draw.sample(self.prompts, min(PROBES, len(self.prompts))):
            (model,) = self.draw.choices(models, weights)
            self._asked += 1
            answer = self.ask(model, prompt)
            found.append(Sampled(number=self._asked, at=datetime.now(UTC), model=model, prompt=prompt, answer=answer))
        return found

    def end(self) -> None:
        """Nothing is kept."""
