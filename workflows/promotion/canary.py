"""A canary: more and more requests of an alias go to another model, until it has them all or breaks an objective.

At each step the alias gets new weights and the same questions are asked of both models, one after the other. Three
objectives are watched: the quality of answers (token F1 against the reference, by a sequential test that may be looked
at after every item), the time of an answer, and failures, of these questions and of users' requests. The first that
breaks takes the canary back at once; so do Ctrl-C and SIGTERM. Refuses to start beside another canary of the same
alias.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nemostack.aliases import Alias, AliasRouter, Route, Shadow
from nemostack.errors import BadInput, RolledBack, ServiceError
from workflows.promotion.sequential import ConfidenceSequence

_ENOUGH_TIMES = 10
_LOOK_S = 1.0


@dataclass(frozen=True)
class Question:
    """A probe."""

    prompt: str
    reference: str


@dataclass(frozen=True)
class Objectives:
    """What a canary must not break. `max_loss`: of mean token F1; `max_slowdown`: ratio of median times."""

    max_loss: float = 0.05
    max_slowdown: float = 2.0
    max_failures: float = 0.01


@dataclass(frozen=True)
class Plan:
    """How a canary goes: shares of the requests in percent, questions and seconds at each step."""

    steps: tuple[float, ...] = (5, 25, 50)
    questions: int = 20
    hold_s: float = 0.0
    shadow: float | None = None
    objectives: Objectives = Objectives()


class _BrokenError(Exception):
    """An objective is broken; the text says which, and by how much."""


@dataclass
class Canary:
    """One canary of one alias. `ask` answers a question by a model; `record` writes a change down."""

    router: AliasRouter
    name: str
    candidate: str
    plan: Plan
    ask: Callable[[str, str], str]
    record: Callable[[str, Alias, Alias, str], object]
    tell: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    quality: ConfidenceSequence = field(default_factory=ConfidenceSequence)
    _times: dict[str, list[float]] = field(default_factory=dict)
    _asked: int = 0
    _failed: int = 0

    def run(self, questions: Sequence[Question]) -> None:
        """Carry it to its end. RolledBack when an objective broke; the alias then leads where it led before."""
        before = self._before()
        stable, place = before.stable, 0
        try:
            for number, share in enumerate(self._shares(), start=1):
                alias = self._alias(stable, share)
                self.router.set_alias(self.name, alias)
                what = "canary" if share else "shadow"
                self.record(what, alias, before, f"step {number}: {alias}")
                self.tell(f"{self.name}: {alias}")
                self._step(stable, questions[place : place + self.plan.questions])
                place += self.plan.questions
        except _BrokenError as broken:
            self._back(before, str(broken))
            raise RolledBack(
                f"{self.candidate} was taken back from {self.name}, which leads to {before} again: {broken}; "
                "`nemostack history` has every step"
            ) from broken
        except BaseException as error:
            self._back(before, f"ended by {type(error).__name__}")
            raise
        alias = Alias(routes=(Route(model=self.candidate, weight=100),))
        self.router.set_alias(self.name, alias)
        self.record("promote", alias, before, f"no objective broke in {len(self._shares())} steps; {self.summary}")
        self.tell(f"{self.name}: {alias}")

    @property
    def summary(self) -> str:
        """What was seen so far."""
        gain = self.quality
        return (
            f"{gain.n} questions to both, token F1 {gain.mean:+.3f} "
            f"(95 % at any time: {gain.low:+.3f} to {gain.high:+.3f}), {self._failed} of {self._asked} failed"
        )

    def _before(self) -> Alias:
        state = self.router.aliases().get(self.name)
        if state is None:
            raise BadInput(f"the alias {self.name} leads nowhere yet: promote its first model with --steps ''")
        if sum(route.weight > 0 for route in state.alias.routes) > 1:
            raise BadInput(
                f"the alias {self.name} is shared out already ({state.alias}): end that first with "
                f"`nemostack rollback --alias {self.name}`"
            )
        stable = next(route.model for route in state.alias.routes if route.weight)
        if stable == self.candidate:
            raise BadInput(f"the alias {self.name} leads to {stable} already")
        return Alias(routes=(Route(model=stable, weight=100),))

    def _shares(self) -> list[float]:
        return [*([0.0] if self.plan.shadow else []), *self.plan.steps]

    def _alias(self, stable: str, share: float) -> Alias:
        routes = (Route(model=stable, weight=100 - share), Route(model=self.candidate, weight=share))
        if share or self.plan.shadow is None:
            return Alias(routes=routes)
        return Alias(routes=routes[:1], shadow=Shadow(model=self.candidate, share=self.plan.shadow))

    def _step(self, stable: str, questions: Sequence[Question]) -> None:
        for question in questions:
            answers = {model: self._answer(model, question, model == stable) for model in (stable, self.candidate)}
            self._look()
            before, after = answers[stable], answers[self.candidate]
            if before is not None and after is not None:
                self.quality.add(token_f1(after, question.reference) - token_f1(before, question.reference))
            self._look()
        until = self.clock() + self.plan.hold_s
        while (left := until - self.clock()) > 0:
            self.sleep(min(_LOOK_S, left))
            self._look()
        self._look()
        self.tell(f"  {self.summary}")

    def _answer(self, model: str, question: Question, spare: bool) -> str | None:
        began = self.clock()
        try:
            answer = self.ask(model, question.prompt)
        except ServiceError:
            if spare:  # the stable model's own trouble is not the canary's fault
                return None
            self._asked, self._failed = self._asked + 1, self._failed + 1
            return None
        self._times.setdefault(model, []).append(self.clock() - began)
        self._asked += not spare
        return answer

    def _look(self) -> None:
        """Raise _BrokenError when an objective is broken."""
        limits = self.plan.objectives
        if self.quality.high < -limits.max_loss:
            raise _BrokenError(
                f"quality: token F1 is lower by {-self.quality.mean:.3f} after {self.quality.n} questions, "
                f"beyond doubt by more than {limits.max_loss:g}"
            )
        state = None if self.router.limits else self.router.aliases().get(self.name)  # others count nothing
        stats = None if state is None else state.stats.get(self.candidate) or state.shadow_stats
        asked = self._asked + (stats.requests if stats else 0)
        failed = self._failed + (stats.failures if stats else 0)
        if failed and failed > limits.max_failures * asked:
            raise _BrokenError(f"failures: {failed} of {asked} requests to it failed")
        times = [values for values in self._times.values() if len(values) >= _ENOUGH_TIMES]
        if len(times) == 2:
            stable, own = (statistics.median(values) for values in times)
            if own > limits.max_slowdown * stable:
                raise _BrokenError(
                    f"time: the median answer takes {own:.2f} s, with the model before it {stable:.2f} s; "
                    f"{limits.max_slowdown:g} times is allowed"
                )

    def _back(self, before: Alias, reason: str) -> None:
        try:
            self.router.set_alias(self.name, before)
        except KeyboardInterrupt:  # it may have come before the change; setting an alias twice does no harm
            self.router.set_alias(self.name, before)
            raise
        except ServiceError as error:
            raise ServiceError(
                f"{self.candidate} is still asked as {self.name}: it could not be taken back ({reason}): {error}",
                error.status,
                hint=f"when NIM answers, `nemostack rollback --alias {self.name} --to {before.stable}`",
            ) from error
        self.record("rollback", before, before, reason)


def token_f1(answer: str, reference: str) -> float:
    """Overlap of words, precision and recall, between 0 and 1."""
    words, wanted = (Counter(text.casefold().split()) for text in (answer, reference))
    shared = sum((words & wanted).values())
    if not words or not wanted:
        return float(words == wanted)
    return 2 * shared / (words.total() + wanted.total())
