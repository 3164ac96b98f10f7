"""A rate that changes during the run: ramps, spikes and steps, as points between which it goes in a straight line.

`0s=2,60s=20` is a ramp; `0s=5,30s=5,30s=50,40s=50,40s=5` a spike of ten seconds (two points at one time are a jump).
Seconds count from the start of the window: the warm-up has the first rate, and after the last point its rate stays.

Arrivals of a changing rate are those of rate 1 on another clock: the k-th is sent when the integral of the rate reaches
its time. So each process keeps its character, and a seed gives the same run again.
"""

import itertools
import math
from collections.abc import Callable, Sequence

from nemostack.errors import BadInput

Points = tuple[tuple[float, float], ...]


def read_profile(text: str, seconds: Callable[[str, str], float]) -> Points:
    """Read `TIME=RATE,...`. Raises BadInput."""
    points = []
    for part in text.split(","):
        at, equals, rate = part.partition("=")
        try:
            points.append((seconds("--rate-profile", at.strip()), float(rate)))
        except ValueError:
            equals = ""
        if not equals or not math.isfinite(points[-1][1]) or points[-1][1] < 0:
            raise BadInput(f"--rate-profile: {part!r} is not TIME=RATE, such as 30s=12")
    times = [at for at, _ in points]
    if times[0] != 0 or times != sorted(times):
        raise BadInput(f"--rate-profile {text!r}: the first time is 0s, and the others follow in order")
    if all(rate == 0 for _, rate in points):
        raise BadInput(f"--rate-profile {text!r}: no request would be sent")
    return tuple(points)


def mean_rate(points: Points, duration_s: float) -> float:
    """Return the mean of the rate over a window."""
    return (
        sum(_area(piece, min(piece[2], duration_s)) for piece in _pieces(points) if piece[0] < duration_s) / duration_s
    )


def warp(unit_times: Sequence[float], points: Points, *, warmup_s: float, end_s: float) -> list[float]:
    """Move arrivals of rate 1 to the times of the profile, in seconds from the start of the warm-up; until `end_s`.

    `unit_times` ascend, and must go on beyond the integral of the profile.
    """
    shifted = ((0.0, points[0][1]), *((at + warmup_s, rate) for at, rate in points))
    times: list[float] = []
    pieces, done = iter(_pieces(shifted)), 0.0
    piece = next(pieces)
    for unit in unit_times:
        while unit >= done + (whole := _area(piece, piece[2])):
            done += whole
            following = next(pieces, None)
            if following is None:
                return times
            piece = following
        at = piece[0] + _time_of(piece, unit - done)
        if at >= end_s:
            return times
        times.append(at)
    return times


Piece = tuple[float, float, float, float]  # start, rate there, end, rate there


def _pieces(points: Points) -> list[Piece]:
    found = [(a, rate, b, after) for (a, rate), (b, after) in itertools.pairwise(points) if b > a]
    last_at, last_rate = points[-1]
    return [*found, (last_at, last_rate, math.inf, last_rate)]


def _area(piece: Piece, until: float) -> float:
    start, rate, end, after = piece
    length = until - start
    if math.isinf(end):
        return rate * length if rate else 0.0
    return length * (rate + 0.5 * (after - rate) * length / (end - start))


def _time_of(piece: Piece, area: float) -> float:
    """Return after how many seconds of a piece the integral of its rate reaches `area`."""
    start, rate, end, after = piece
    slope = 0.0 if math.isinf(end) else (after - rate) / (end - start)
    # the root of slope / 2 t^2 + rate t - area in the form that also holds for slope 0
    return 2 * area / (rate + math.sqrt(max(0.0, rate * rate + 2 * slope * area))) if area else 0.0
