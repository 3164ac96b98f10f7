"""Waiting for something that a service does.

Looks often at first and less often later (a fiftieth of the time waited so far), so that a job of seconds loses no
seconds and a job of hours is not asked every moment. Where a look takes long it looks less often as well: a service
may be slow for being asked, as the NeMo Platform, which asks itself four things for each look. A service that is away
for a while is forgiven, since supervisors restart them; a deadline is not.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from nemostack.errors import DeadlineExceeded, ServiceError, Unreachable

T = TypeVar("T")
_RETRIED = {429, 502, 503, 504}
LOOKS_REST = 10
"""Between two looks lies at least so many times the time that one takes."""


@dataclass(frozen=True)
class Pace:
    """How to wait. Times in seconds; the clock is injected for tests."""

    first: float = 0.5
    longest: float = 15.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def interval(self, waited: float, took: float) -> float:
        """Until the next look, when the last one `took` so long."""
        return min(self.longest, max(self.first, waited / 50, LOOKS_REST * took))


def wait_for(
    look: Callable[[], T],
    *,
    done: Callable[[T], bool],
    describe: Callable[[T], str],
    what: str,
    deadline_s: float,
    outage_s: float = 0.0,
    pace: Pace | None = None,
    tell: Callable[[str], None] | None = None,
) -> T:
    """Look until `done`; returns what was seen then.

    DeadlineExceeded names the last thing seen. Unreachable, 429 and 502-504 are forgiven until they have lasted for
    `outage_s` without a break; every other error passes at once.
    """
    pace = pace or Pace()
    started = pace.clock()
    away_since: float | None = None
    last = "nothing seen yet"
    while True:
        asked = pace.clock()
        try:
            seen = look()
        except ServiceError as error:
            if not (isinstance(error, Unreachable) or error.status in _RETRIED):
                raise
            away_since = pace.clock() if away_since is None else away_since
            if pace.clock() - away_since >= outage_s:
                raise
            last = f"the service is away ({error})"
        else:
            away_since = None
            last = describe(seen)
            if done(seen):
                return seen
        if tell is not None:
            tell(last)
        now = pace.clock()
        waited, rest = now - started, pace.interval(now - started, now - asked)
        if waited >= deadline_s:
            raise DeadlineExceeded(f"{what}: not there after {waited:.0f} s, looking every {rest:.1f} s; last: {last}")
        pace.sleep(min(rest, max(0.0, deadline_s - waited)))
