"""Schedules: the times at which requests are sent.

Closed loop: each user sends its next request after the last one ended (plus think time). It shows what a fixed number
of clients gets; a slow server slows its own load down, so queueing is hidden.

Open loop: send times are computed from a seed before the run, whatever the server does. Latency is then also reported
from the scheduled time, so a stall shows up in every request that should have been sent during it.

| process  | gaps between sends                                                              |
|----------|---------------------------------------------------------------------------------|
| constant | 1 / rate                                                                        |
| poisson  | exponential with mean 1 / rate                                                  |
| gamma    | gamma with shape `smoothness`, mean 1 / rate; < 1 bursty, 1 = poisson, > 1 even |
"""

import math
import random
from typing import Literal

from load_tests.traffic.profile import Points, mean_rate, warp

Arrivals = Literal["closed", "constant", "poisson", "gamma", "trace"]


def schedule(
    process: Arrivals,
    *,
    rate: float,
    duration_s: float,
    seed: int,
    smoothness: float = 1.0,
    worker: int = 0,
    workers: int = 1,
    profile: Points = (),
    warmup_s: float = 0.0,
) -> list[float]:
    """Send times in seconds from the start, ascending, all below `duration_s`.

    Every worker computes the whole schedule and takes each `workers`-th entry, so that the union is the same process
    whatever the number of workers. With a `profile` the rate changes, and `rate` is not looked at. Refuses the closed
    loop, which has no schedule, and a rate that is not positive.
    """
    if process in {"closed", "trace"}:
        raise ValueError(f"{process}: no schedule to compute (a closed loop has none, a trace brings its own)")
    if rate <= 0 or smoothness <= 0:
        raise ValueError(f"rate and smoothness must be positive, not {rate:g} and {smoothness:g}")
    if profile:
        whole = profile[0][1] * warmup_s + mean_rate(profile, duration_s - warmup_s) * (duration_s - warmup_s)
        units = schedule(process, rate=1.0, duration_s=whole + 1, seed=seed, smoothness=smoothness)
        return warp(units, profile, warmup_s=warmup_s, end_s=duration_s)[worker::workers]
    if process == "constant":
        # k / rate, not a sum of gaps: sums of floats drift
        times = [k / rate for k in range(math.ceil(duration_s * rate)) if k / rate < duration_s]
    else:
        # the first arrival comes one gap after the start, as in the processes' definition
        rng = random.Random(f"arrivals:{seed}")
        shape = 1.0 if process == "poisson" else smoothness
        times = []
        now = rng.gammavariate(shape, 1.0 / (rate * shape))
        while now < duration_s:
            times.append(now)
            now += rng.gammavariate(shape, 1.0 / (rate * shape))
    return times[worker::workers]
