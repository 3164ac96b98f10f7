"""Waiting, with a clock that the test turns."""

from typing import Any

import pytest

from nemostack.clients.polling import Pace, wait_for
from nemostack.errors import DeadlineExceeded, NotFound, ServiceError, Unreachable


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    @property
    def pace(self) -> Pace:
        return Pace(clock=lambda: self.now, sleep=self.sleep)


def wait(clock: Clock, look, **options):
    settings: dict[str, Any] = {
        "done": lambda s: s == "completed",
        "describe": str,
        "what": "job x",
        "deadline_s": 100.0,
    }
    return wait_for(look, pace=clock.pace, **(settings | options))


def test_looks_often_at_first_and_less_often_later() -> None:
    clock = Clock()
    assert wait(clock, lambda: "completed" if clock.now > 3000 else "running", deadline_s=9999) == "completed"
    assert clock.slept[0] == 0.5
    assert clock.slept == sorted(clock.slept)
    assert clock.slept[-1] == 15.0
    assert clock.now < 3000 + 15.01


def test_a_service_that_answers_slowly_is_asked_less_often() -> None:
    clock = Clock()

    def look() -> str:
        clock.now += 0.4
        return "completed" if clock.now > 60 else "running"

    assert wait(clock, look) == "completed"
    assert clock.slept == [pytest.approx(4.0)] * len(clock.slept)


def test_deadline_tells_the_last_thing_seen() -> None:
    clock = Clock()
    with pytest.raises(DeadlineExceeded, match=r"job x: not there after 10 s.*last: running"):
        wait(clock, lambda: "running", deadline_s=10.0)
    assert clock.now == pytest.approx(10.0)


@pytest.mark.parametrize("error", [Unreachable("away"), ServiceError("busy", 503), ServiceError("slow down", 429)])
def test_an_outage_is_forgiven_as_long_as_agreed(error: ServiceError) -> None:
    clock = Clock()

    def look() -> str:
        if 5 < clock.now < 15:
            raise error
        return "completed" if clock.now > 20 else "running"

    assert wait(clock, look, outage_s=12.0) == "completed"
    clock.now = 6.0
    with pytest.raises(type(error)):
        wait(clock, look, outage_s=3.0)
    assert 9.0 <= clock.now <= 10.0


def test_outages_are_not_added_up() -> None:
    clock = Clock()

    def look() -> str:
        if int(clock.now) % 2:
            raise Unreachable("away")
        return "completed" if clock.now > 30 else "running"

    assert wait(clock, look, outage_s=2.0) == "completed"


@pytest.mark.parametrize("error", [NotFound("gone", 404), ServiceError("no", 422), KeyError("bug")])
def test_other_errors_pass_at_once(error: Exception) -> None:
    clock = Clock()

    def look() -> str:
        raise error

    with pytest.raises(type(error)):
        wait(clock, look, outage_s=50.0)
    assert clock.slept == []
