"""Canaries against a NIM in memory: what is set in which order, what takes them back, and what is written down."""

from collections.abc import Callable
from typing import Any

import pytest

from nemostack.aliases import Alias, AliasState, Route, RouteStats
from nemostack.errors import BadInput, RolledBack, ServiceError, Unreachable
from workflows.promotion.canary import Canary, Objectives, Plan, Question, token_f1

QUESTIONS = [Question(f"question {i}?", f"the right answer {i}") for i in range(300)]


class FakeNim:
    """Aliases in memory; `good` and `bad` are models."""

    limits = ""

    def __init__(self) -> None:
        self.set: list[Alias] = []
        self.stats = RouteStats()
        self.now: dict[str, Alias] = {"prod": Alias(routes=(Route(model="good", weight=100),))}

    def aliases(self) -> dict[str, AliasState]:
        return {name: AliasState(name=name, alias=alias, stats={"new": self.stats}) for name, alias in self.now.items()}

    def set_alias(self, name: str, alias: Alias) -> None:
        self.set.append(alias)
        self.now[name] = alias

    def remove_alias(self, name: str) -> None:
        del self.now[name]


class Clock:
    """Time passes by what is asked and slept."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def nim() -> FakeNim:
    return FakeNim()


def canary(nim: FakeNim, ask: Callable[[str, str], str], clock: Clock | None = None, **plan: Any) -> Canary:
    clock = clock or Clock()
    canary = Canary(
        router=nim,
        name="prod",
        candidate="new",
        plan=Plan(**plan),
        ask=ask,
        record=lambda *change: recorded.append(change),
        tell=lambda _text: None,
        clock=clock,
        sleep=clock.sleep,
    )
    recorded: list[Any] = []
    canary.recorded = recorded  # type: ignore[attr-defined]
    return canary


def right(_model: str, prompt: str) -> str:
    return prompt.replace("question", "the right answer").rstrip("?")


def worse(model: str, prompt: str) -> str:
    return "no idea" if model == "new" else right(model, prompt)


def weights(alias: Alias) -> dict[str, float]:
    return {route.model: route.weight for route in alias.routes}


def test_an_interruption_while_it_goes_back_does_not_keep_it(nim: FakeNim) -> None:
    set_alias = nim.set_alias

    def interrupted_once(name: str, alias: Alias) -> None:
        if len(nim.set) == 1:  # the first change was the canary, this one is the way back
            nim.set.append(alias)
            raise KeyboardInterrupt
        set_alias(name, alias)

    nim.set_alias = interrupted_once  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        canary(nim, worse).run(QUESTIONS)
    assert weights(nim.now["prod"]) == {"good": 100}


def test_a_canary_that_cannot_be_taken_back_is_told(nim: FakeNim) -> None:
    set_alias = nim.set_alias

    def gone(name: str, alias: Alias) -> None:
        if nim.set:
            raise Unreachable("NIM at http://nim did not answer")
        set_alias(name, alias)

    nim.set_alias = gone  # type: ignore[method-assign]
    with pytest.raises(ServiceError, match=r"still asked as prod.*did not answer; .*rollback --alias prod --to good`"):
        canary(nim, worse).run(QUESTIONS)


def test_a_good_model_takes_over_step_by_step(nim: FakeNim) -> None:
    running = canary(nim, right)
    running.run(QUESTIONS)
    assert [weights(alias) for alias in nim.set] == [
        {"good": 95, "new": 5},
        {"good": 75, "new": 25},
        {"good": 50, "new": 50},
        {"new": 100},
    ]
    assert [change[0] for change in running.recorded] == ["canary", "canary", "canary", "promote"]  # type: ignore[attr-defined]
    assert running.quality.n == 60


def test_worse_answers_take_it_back_before_its_questions_end(nim: FakeNim) -> None:
    running = canary(nim, worse, questions=100)
    with pytest.raises(RolledBack, match="quality: token F1 is lower by 1"):
        running.run(QUESTIONS)
    assert weights(nim.now["prod"]) == {"good": 100}
    assert running.quality.n < 40  # the test may be looked at after every item, and is
    assert len(nim.set) == 2  # never went beyond the first step
    assert running.recorded[-1][0] == "rollback"  # type: ignore[attr-defined]


def test_slower_answers_take_it_back(nim: FakeNim) -> None:
    clock = Clock()

    def slow(model: str, prompt: str) -> str:
        clock.sleep(3.0 if model == "new" else 1.0)
        return right(model, prompt)

    with pytest.raises(RolledBack, match=r"time: the median answer takes 3.00 s, with the model before it 1.00 s"):
        canary(nim, slow, clock).run(QUESTIONS)
    assert weights(nim.now["prod"]) == {"good": 100}
    canary(nim, slow, clock, objectives=Objectives(max_slowdown=4)).run(QUESTIONS)
    assert weights(nim.now["prod"]) == {"new": 100}


def test_failures_of_its_own_questions_take_it_back(nim: FakeNim) -> None:
    def failing(model: str, prompt: str) -> str:
        if model == "new":
            raise ServiceError("500")
        return right(model, prompt)

    with pytest.raises(RolledBack, match="failures: 1 of 1"):
        canary(nim, failing).run(QUESTIONS)


def test_failures_of_users_requests_take_it_back_while_a_step_is_held(nim: FakeNim) -> None:
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        nim.stats = RouteStats(requests=50, failures=5)

    running = canary(nim, right, clock, questions=2, hold_s=30)
    running.sleep = sleep
    with pytest.raises(RolledBack, match="failures: 5 of 52"):
        running.run(QUESTIONS)
    assert clock.at <= 2  # it looks every second


def test_trouble_of_the_model_before_it_is_not_its_fault(nim: FakeNim) -> None:
    def ask(model: str, prompt: str) -> str:
        if model == "good":
            raise ServiceError("busy")
        return right(model, prompt)

    canary(nim, ask).run(QUESTIONS)
    assert weights(nim.now["prod"]) == {"new": 100}


def test_a_shadow_comes_first_and_answers_nobody(nim: FakeNim) -> None:
    canary(nim, right, shadow=0.5).run(QUESTIONS)
    first = nim.set[0]
    assert weights(first) == {"good": 100}
    assert first.shadow is not None
    assert (first.shadow.model, first.shadow.share) == ("new", 0.5)
    assert nim.set[1].shadow is None


def test_whatever_ends_a_canary_takes_it_back(nim: FakeNim) -> None:
    def interrupted(_model: str, _prompt: str) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        canary(nim, interrupted).run(QUESTIONS)
    assert weights(nim.now["prod"]) == {"good": 100}


@pytest.mark.parametrize(
    ("routes", "says"),
    [
        ((Route(model="new", weight=1),), "leads to new already"),
        ((Route(model="good", weight=1), Route(model="other", weight=1)), "shared out already"),
    ],
)
def test_no_canary_where_there_is_nothing_to_try(nim: FakeNim, routes: Any, says: str) -> None:
    nim.now["prod"] = Alias(routes=routes)
    with pytest.raises(BadInput, match=says):
        canary(nim, right).run(QUESTIONS)
    assert nim.set == []


def test_token_f1() -> None:
    assert token_f1("the right answer", "The right answer") == 1
    assert token_f1("the answer", "the right answer") == pytest.approx(0.8)  # 2 of 2 and 2 of 3
    assert token_f1("", "x") == 0
    assert token_f1("같은 답", "같은 답") == 1
