"""Saturation on simulated servers, whose limit is known from queueing theory and not from the code under test."""

import heapq
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from load_tests import plan, search
from load_tests.client.records import RequestRecord
from load_tests.search import Search, next_rate
from load_tests.traffic.arrivals import Arrivals, schedule
from load_tests.verdict import saturation
from load_tests.verdict.saturation import Outcome, Step
from load_tests.verdict.slo import Verdict
from load_tests.verdict.token_rate import Window
from nemostack.errors import BadInput
from nemostack.exit_codes import ExitCode

PLACES, SERVICE_S = 4, 0.2  # at most 20 requests/s
LIMIT = PLACES / SERVICE_S
WINDOW = Window(5.0, 35.0)


def _queue(
    rate: float, *, seed: int = 0, process: Arrivals = "poisson", service_s: float = SERVICE_S
) -> list[RequestRecord]:
    """Requests at a server of `PLACES` places, first come first served; load ends with the window, grace is endless."""
    free = [0.0] * PLACES
    records = []
    for k, due in enumerate(schedule(process, rate=rate, duration_s=WINDOW.end, seed=seed)):
        begin = max(due, heapq.heappop(free))
        heapq.heappush(free, begin + service_s)
        records.append(
            RequestRecord(
                id=f"r{k}",
                worker=0,
                model="base",
                t_sched=due,
                t_send=due,
                t_first=begin + 0.1,
                t_last=begin + service_s,
                t_end=begin + service_s,
                output_tokens=2,
                content_events=2,
                gaps_ms=[1e3 * (service_s - 0.1)],
            )
        )
    return records


def _step(rate: float, attempt: int = 0) -> Step:
    return saturation.measure(
        rate,
        f"rate-{rate:g}",
        _queue(rate, seed=attempt),
        WINDOW,
        verdict=Verdict.PASS,
        broken_rules=[],
        open_loop=True,
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.3, 0.6, 0.85])
def test_a_queue_that_swings_is_not_saturated(share: float, seed: int) -> None:
    found = saturation.backlog(_queue(share * LIMIT, seed=seed), WINDOW)
    assert found is not None
    assert not found.growing, found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [1.2, 1.5, 3.0])
def test_a_queue_that_grows_is_saturated(share: float, seed: int) -> None:
    records = _queue(share * LIMIT, seed=seed)
    found = saturation.backlog(records, WINDOW)
    assert found is not None
    assert found.growing, found
    # what arrives and is not completed is what the server is short of
    arrived = sum(WINDOW.holds(r.due) for r in records) / WINDOW.length_s
    assert found.growth_per_s == pytest.approx(arrived - LIMIT, abs=0.05 * LIMIT)
    assert "saturated" in found.sentence


def test_the_second_in_which_the_queue_began_to_grow_is_told() -> None:
    calm = [r for r in _queue(8, process="constant") if r.due < 20]
    burst = [r for r in _queue(60, process="constant") if r.due >= 20]
    for k, record in enumerate(burst):  # served one after the other from then on
        record.t_end = 20 + (k + 1) / LIMIT
    found = saturation.backlog([*calm, *burst], WINDOW)
    assert found is not None
    assert found.since_s == pytest.approx(20, abs=1)


def test_a_long_reply_is_no_growing_queue() -> None:
    # each takes 10 s: the backlog fills until second 10, and a server with places for all keeps up
    records = _queue(0.35, service_s=10.0, process="constant")
    for record in records:
        record.t_end = record.due + 10
    found = saturation.backlog(records, WINDOW)
    assert found is None or not found.growing


def test_a_server_that_still_works_off_what_came_before_decides_nothing() -> None:
    # every place is taken until second 30 of 35, as the clients of the run before left it
    records = _queue(0.5 * LIMIT)
    for k, record in enumerate(records):
        record.t_end = max(record.due, 30.0 + k / LIMIT)
    step = saturation.measure(10, "rate-10", records, WINDOW, verdict=Verdict.PASS, broken_rules=[], open_loop=True)
    assert step.outcome is Outcome.UNDECIDED
    assert "--duration" in step.why


def test_dropped_and_unfinished_requests_stay_open() -> None:
    records = _queue(10)
    for record in records[len(records) // 2 :]:
        record.t_send = record.t_end = None
        record.outcome = "dropped"
    found = saturation.backlog(records, WINDOW)
    assert found is not None
    assert found.growing
    assert saturation.judge_step(Verdict.INVALID, ["sent of scheduled"], found)[0] is Outcome.BREAKS
    assert saturation.judge_step(Verdict.INVALID, ["client CPU"], found)[0] is Outcome.CLIENT


def _search(made: Search, measure: Callable[[float, int], Step] = _step) -> list[Step]:
    steps: list[Step] = []
    while (rate := next_rate(made, steps)) is not None:
        steps.append(measure(rate, sum(step.rate == rate for step in steps)))
    return steps


def test_the_search_finds_the_limit_that_follows_from_the_places() -> None:
    steps = _search(Search())
    found = saturation.bracket(steps)
    assert found.holds is not None
    assert found.breaks is not None
    assert 0.85 * LIMIT < found.holds < LIMIT * 1.06
    assert found.breaks < 1.2 * LIMIT
    assert found.width is not None
    assert found.width <= 0.07
    assert sum(step.rate == found.holds for step in steps) == 3
    full = saturation.capacity(steps)
    assert full is not None
    assert full[0] == pytest.approx(LIMIT, rel=0.03)
    assert steps == _search(Search())  # the same again


def test_one_attempt_that_breaks_takes_a_rate_away() -> None:
    def flaky(rate: float, attempt: int) -> Step:
        broken = rate > 100 or (rate > 60 and attempt == 1)
        outcome = Outcome.BREAKS if broken else Outcome.HOLDS
        return Step(rate, "", Verdict.PASS, outcome, "", None, None, None, None, None, None, None)

    found = saturation.bracket(_search(Search(start=10), flaky))
    assert found.holds is not None
    assert found.holds <= 60
    steps = _search(Search(start=10), flaky)
    assert sum(s.rate == found.holds for s in steps) == 3
    assert not any(s.outcome is Outcome.BREAKS and s.rate <= found.holds for s in steps)


@pytest.mark.parametrize(
    ("outcome", "runs"), [(Outcome.CLIENT, 1), (Outcome.BREAKS, 7)], ids=["client limit", "breaks at once"]
)
def test_it_ends_when_nothing_can_be_found(outcome: Outcome, runs: int) -> None:
    def always(rate: float, _: int) -> Step:
        return Step(rate, "", Verdict.FAIL, outcome, "", None, None, None, None, None, None, None)

    assert len(_search(Search(), always)) == runs


def test_a_ceiling_is_kept_and_steps_stop_where_it_breaks() -> None:
    assert max(step.rate for step in _search(Search(start=2, ceiling=13))) == 13
    tried = [step.rate for step in _search(Search(rates=(5, 10, 30, 40)))]
    assert tried == [5, 10, 30]


def test_the_knee_lies_below_the_limit() -> None:
    curve = [_step(rate) for rate in (2, 6, 10, 14, 18, 19.5, 30)]
    knee = saturation.knee(curve)
    # M/D/4 at 0.7 of its limit still hardly waits, and beyond its limit throughput does not rise
    assert knee in {14, 18}
    assert saturation.knee(curve[:2]) is None


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("--steps 1,2 --find-max", "give one"),
        ("--steps 1,x", "not a list of rates"),
        ("--steps 4,2", "must be above 0 and rise"),
        ("--steps 0,2", "must be above 0 and rise"),
        ("--find-max --start-rate 5 --max-rate 2", "--start-rate"),
        ("--find-max --precision 0", "--precision"),
        ("--steps 1,2 --repeat 3", "--repeat is for one rate"),
    ],
)
def test_what_cannot_be_searched_is_refused(options: str, problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        plan.make(options.split())


def _fake_run(folder_of: list[Path], seeds: list[int] | None = None) -> Callable[[list[str]], int]:
    """A run whose samples come from the simulated server, written as a run writes them."""

    def run(arguments: list[str]) -> int:
        given = dict(zip(arguments[::2], arguments[1::2], strict=True))
        if seeds is not None:
            seeds.append(int(given["--seed"]))
        folder = Path(given["--out"])
        folder_of.append(folder)
        folder.mkdir(parents=True)
        records = _queue(float(given["--rate"]), seed=int(given["--seed"]))
        data = {
            "verdict": "PASS",
            "validity": [],
            "window_s": WINDOW.length_s,
            "run": {"spec": {"warmup_s": WINDOW.start}},
        }
        (folder / "report.json").write_text(json.dumps(data))
        fields = RequestRecord.__dataclass_fields__
        rows = [json.dumps({name: getattr(r, name) for name in fields}) for r in records]
        (folder / "requests.jsonl").write_text("\n".join(rows) + "\n")
        return 0

    return run


def test_a_search_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found"
    ran: list[Path] = []
    published: list[Path] = []
    again: list[Path] = []
    made = Search(rates=(5.0, 10.0, 40.0, 80.0))
    code = search.execute(made, ["--seed", "3"], out, _fake_run(ran), published.append)
    assert code == ExitCode.DONE
    assert [path.name for path in ran] == ["rate-5", "rate-10", "rate-40"] == [path.name for path in published]
    result = json.loads((out / "search.json").read_text())
    assert (result["holds"], result["breaks"]) == (10, 40)
    assert "10 requests/s held, 40 broke" in capsys.readouterr().out
    assert "The queue grew from second" in (out / "search.html").read_text()
    (out / "rate-40" / "report.json").unlink()
    (out / "rate-40" / "requests.jsonl").unlink()
    (out / "rate-40").rmdir()
    search.execute(made, ["--seed", "3"], out, _fake_run(again), published.append)
    assert [path.name for path in again] == ["rate-40"]
    assert json.loads((out / "search.json").read_text()) == result
    with pytest.raises(BadInput, match="other settings"):
        search.execute(made, ["--seed", "4"], out, _fake_run([]), published.append)
    with pytest.raises(BadInput, match="--rate is what a search varies"):
        search.execute(made, ["--rate", "4"], tmp_path / "other", _fake_run([]), published.append)


def test_no_run_of_a_search_repeats_the_prompts_of_another(tmp_path: Path) -> None:
    """Prompts follow from the seed, and a prompt that was asked before comes out of the server's prefix cache."""
    seeds: list[int] = []
    search.execute(Search(start=5.0), ["--seed", "3"], tmp_path / "found", _fake_run([], seeds), lambda _: None)
    assert len(seeds) > 4
    assert seeds == [*range(3, 3 + len(seeds))]


def test_a_run_that_the_client_spoiled_is_not_counted_as_held() -> None:
    def spoiled_again(rate: float, attempt: int) -> Step:
        outcome = Outcome.BREAKS if rate > 20 else Outcome.CLIENT if attempt else Outcome.HOLDS
        return Step(rate, "", Verdict.PASS, outcome, "", None, None, None, None, None, None, None)

    steps = _search(Search(start=10, attempts=2), spoiled_again)
    first, *others = search.conclude(steps, unit="requests/s")["findings"]
    assert first.startswith("20 requests/s held, ")
    assert any("Use more workers" in one for one in others)
