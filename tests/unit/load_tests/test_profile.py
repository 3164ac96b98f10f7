"""Rates that change: arrivals against the integral of the rate, worked out by hand."""

import pytest

from load_tests.traffic.arrivals import schedule
from load_tests.traffic.profile import Points, mean_rate, read_profile
from nemostack.errors import BadInput


def _read(text: str) -> Points:
    return read_profile(text, lambda _, time: float(time.removesuffix("s")))


def test_a_ramp_sends_what_its_area_says() -> None:
    ramp = _read("0s=0,10s=20")  # n(t) = t^2: the k-th of a constant process is sent at sqrt(k)
    times = schedule("constant", rate=9, duration_s=10, seed=0, profile=ramp)
    assert times == pytest.approx([k**0.5 for k in range(100)])
    assert mean_rate(ramp, 10) == pytest.approx(10)
    assert mean_rate(ramp, 20) == pytest.approx(15)  # 20 a second after the last point


def test_a_spike_is_inside_its_seconds_and_the_warm_up_has_the_first_rate() -> None:
    spike = _read("0s=2,4s=2,4s=50,6s=50,6s=2")
    times = schedule("constant", rate=9, duration_s=15, seed=0, profile=spike, warmup_s=5)
    counts = [sum(a <= at < b for at in times) for a, b in ((0, 5), (5, 9), (9, 11), (11, 15))]
    assert counts == pytest.approx([10, 8, 100, 8], abs=1)
    assert mean_rate(spike, 10) == pytest.approx((8 + 100 + 8) / 10)


def test_poisson_arrivals_follow_the_profile_by_seed_and_are_shared_by_workers() -> None:
    steps = _read("0s=20,50s=20,50s=80")
    whole = schedule("poisson", rate=1, duration_s=100, seed=4, profile=steps)
    early = sum(at < 50 for at in whole)
    assert early == pytest.approx(1000, abs=5 * 1000**0.5)
    assert len(whole) - early == pytest.approx(4000, abs=5 * 4000**0.5)
    assert whole == schedule("poisson", rate=1, duration_s=100, seed=4, profile=steps)
    assert whole != schedule("poisson", rate=1, duration_s=100, seed=5, profile=steps)
    parts = [schedule("poisson", rate=1, duration_s=100, seed=4, profile=steps, worker=k, workers=3) for k in range(3)]
    assert sorted(at for part in parts for at in part) == whole
    assert max(whole) < 100


def test_a_flat_profile_is_the_plain_rate() -> None:
    assert schedule("constant", rate=1, duration_s=9, seed=0, profile=_read("0s=4")) == pytest.approx(
        schedule("constant", rate=4, duration_s=9, seed=0)
    )


def test_a_pause_sends_nothing() -> None:
    times = schedule("constant", rate=1, duration_s=9, seed=0, profile=_read("0s=4,3s=4,3s=0,6s=0,6s=4"))
    assert not [at for at in times if 3.01 < at < 6]
    assert len(times) == pytest.approx(24, abs=1)


@pytest.mark.parametrize("text", ["", "5", "0s=x", "0s=-1", "1s=4", "0s=1,9s=2,3s=4", "0s=0,4s=0", "0s=inf"])
def test_what_is_no_profile_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--rate-profile"):
        _read(text)
