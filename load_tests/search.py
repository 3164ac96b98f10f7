"""`nemostack load --steps` and `--find-max`: runs at rising rates until the server breaks, in one folder.

Each step is a whole run with a folder and a report of its own (`rate-8`, a second attempt `rate-8-2`), so that
`load compare` and `load capacity` take them as they are. `--find-max` doubles the rate until a step breaks, halves the
gap until it is narrow, and then tries the rate that held again: one lucky run is no limit. The rates follow from what
was found, and each run's seed from its number.

`search.json` holds the settings and, at the end, the result. A search that was interrupted goes on where it stopped
when the same command is given again; other settings in the same folder are refused.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from load_tests.comparison import REPORT, read_run
from load_tests.report import saturation as report
from load_tests.verdict import saturation
from load_tests.verdict.saturation import Bracket, Outcome, Step
from load_tests.verdict.slo import Verdict
from nemostack.errors import BadInput
from nemostack.exit_codes import ExitCode

SCHEMA: Final = "nemostack.load-search/1"
FILE: Final = "search.json"
MOST_RUNS: Final = 40
Run = Callable[[list[str]], int]


@dataclass(frozen=True, slots=True)
class Search:
    """What to try: the `rates` given, or, without any, what finds the limit from `start` up to `ceiling`."""

    rates: tuple[float, ...] = ()
    start: float = 1.0
    ceiling: float | None = None
    precision: float = 0.05
    attempts: int = 3


def add_options(group: Any) -> None:
    """Add the options of a search to a group of a parser."""
    group.add_argument(
        "--steps", metavar="RATE,...", help="One run at each rate, until the SLO breaks or the queue grows (-u: users)"
    )
    group.add_argument("--find-max", action="store_true", help="Find the highest rate that meets the SLO")
    group.add_argument("--start-rate", type=float, default=1.0, help="Of --find-max: the first rate (default: 1)")
    group.add_argument("--max-rate", type=float, help="Of --find-max: never go beyond")
    group.add_argument(
        "--precision", type=float, default=0.05, help="Of --find-max: how far the ends may lie apart (default: 0.05)"
    )
    group.add_argument(
        "--attempts", type=int, default=3, help="Of --find-max: runs in which the limit has to hold (default: 3)"
    )


def search_from(options: argparse.Namespace) -> Search | None:
    """Check the options of a search; None when there is none. Raises BadInput."""
    if not options.steps and not options.find_max:
        return None
    if options.steps and options.find_max:
        raise BadInput("--steps and --find-max are two ways to the same end: give one")
    if options.find_max:
        if options.start_rate <= 0 or (options.max_rate is not None and options.max_rate < options.start_rate):
            raise BadInput("--start-rate must be above 0 and not above --max-rate")
        if not 0 < options.precision < 1 or options.attempts < 1:
            raise BadInput("--precision lies between 0 and 1, and --attempts is 1 or more")
        return Search((), options.start_rate, options.max_rate, options.precision, options.attempts)
    try:
        rates = tuple(float(part) for part in options.steps.split(","))
    except ValueError as error:
        raise BadInput(f"--steps {options.steps!r} is not a list of rates such as 2,4,8") from error
    if not all(math.isfinite(rate) and rate > 0 for rate in rates) or list(rates) != sorted(set(rates)):
        raise BadInput(f"--steps {options.steps!r}: the rates must be above 0 and rise")
    return Search(rates)


def next_rate(search: Search, steps: Sequence[Step]) -> float | None:
    """Return the rate to try next, or None at the end."""
    if any(step.outcome is Outcome.CLIENT for step in steps) or len(steps) >= MOST_RUNS:
        return None
    found = saturation.bracket(steps)
    if search.rates:
        tried = {step.rate for step in steps}
        left = [rate for rate in search.rates if rate not in tried]
        return left[0] if left and found.breaks is None else None
    return _next_of_search(search, steps, found)


def _next_of_search(search: Search, steps: Sequence[Step], found: Bracket) -> float | None:
    if not steps:
        return search.start
    if found.breaks is None:
        top = max(step.rate for step in steps)
        if search.ceiling is None or top < search.ceiling:
            return 2 * top if search.ceiling is None else min(2 * top, search.ceiling)
        return _again(search, steps, found.holds)
    below = [step.rate for step in steps if step.rate < found.breaks]
    if found.holds is None:
        # nothing held yet: go down, also below rates with too few samples to say
        lowest = min([found.breaks, *below])
        return None if lowest < search.start / 64 else _round(lowest / 2)
    middle = _round(math.sqrt(found.holds * found.breaks))
    undecided = any(step.rate == middle and step.outcome is Outcome.UNDECIDED for step in steps)
    if found.breaks / found.holds - 1 > search.precision and found.holds < middle < found.breaks and not undecided:
        return middle
    return _again(search, steps, found.holds)


def _again(search: Search, steps: Sequence[Step], rate: float | None) -> float | None:
    if rate is None or sum(step.rate == rate for step in steps) >= search.attempts:
        return None
    return rate


def _round(rate: float) -> float:
    """Three significant digits: a rate that can be given again."""
    return float(f"{rate:.3g}")


def execute(search: Search, arguments: Sequence[str], out: Path, run: Run, publish: Callable[[Path], None]) -> int:
    """Run the search, write its result, and return the exit code. Raises BadInput."""
    closed, seed, rest = _load_options(arguments)
    _claim(out, {"search": asdict(search), "arguments": list(arguments)})
    steps: list[Step] = []
    while (rate := next_rate(search, steps)) is not None:
        if closed and rate != int(rate):
            raise BadInput(f"a closed loop has whole numbers of users, not {rate:g}: add --arrivals poisson")
        attempt = sum(step.rate == rate for step in steps)
        folder = out / (f"rate-{rate:g}" if attempt == 0 else f"rate-{rate:g}-{attempt + 1}")
        if not (folder / REPORT).is_file():
            load = ["-u", f"{rate:g}"] if closed else ["--rate", f"{rate:g}"]
            # Each with a seed of its own: the prompts of an earlier run would come out of the server's prefix cache.
            code = run([*rest, *load, "--seed", str(seed + len(steps)), "--out", str(folder)])
            if not (folder / REPORT).is_file():
                return code
            publish(folder)
            if "ran to the end" in _broken_rules(read_run(folder).data):
                print(f"interrupted: move {folder} away and give the same command to go on", file=sys.stderr)
                return code
        steps.append(_read_step(rate, folder, open_loop=not closed))
        print(f"{rate:g}: {steps[-1].outcome}. {steps[-1].why}", file=sys.stderr)
    result = conclude(steps, unit="users" if closed else "requests/s")
    settings = json.loads((out / FILE).read_text(encoding="utf-8"))
    report.write({**settings, **result}, out)
    print("\n".join(result["findings"]))
    print(f"report: {out / report.PAGE}")
    return int(result["exit_code"])


def _load_options(arguments: Sequence[str]) -> tuple[bool, int, list[str]]:
    """Whether the loop is closed, the seed, and what is left for Locust. Raises BadInput."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--arrivals")
    parser.add_argument("--rate")
    parser.add_argument("--seed", type=int, default=0)
    known, rest = parser.parse_known_args(list(arguments))
    if known.rate is not None:
        raise BadInput("--rate is what a search varies: leave it out (--steps names rates, --start-rate the first)")
    arrivals = known.arrivals or "poisson"
    return arrivals == "closed", known.seed, [*rest, "--arrivals", arrivals]


def _claim(out: Path, settings: dict[str, Any]) -> None:
    path = out / FILE
    settings = json.loads(json.dumps({"schema": SCHEMA, **settings}))
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if {name: before.get(name) for name in settings} != settings:
            raise BadInput(f"{out} holds a search with other settings: choose another --out")
        return
    if out.exists() and any(out.iterdir()):
        raise BadInput(f"{out} is not an empty folder; results are never mixed: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _broken_rules(data: dict[str, Any]) -> list[str]:
    return [rule["name"] for rule in data["validity"] if not rule["ok"]]


def _read_step(rate: float, folder: Path, *, open_loop: bool) -> Step:
    run = read_run(folder)
    return saturation.measure(
        rate,
        folder.name,
        run.records,
        run.window,
        verdict=Verdict(run.data["verdict"]),
        broken_rules=_broken_rules(run.data),
        open_loop=open_loop,
    )


def conclude(steps: Sequence[Step], *, unit: str) -> dict[str, Any]:
    """Say what was found: bracket, knee, capacity, sentences, exit code."""
    found, full, knee = saturation.bracket(steps), saturation.capacity(steps), saturation.knee(steps)
    return {
        "unit": unit,
        "steps": [asdict(step) for step in steps],
        "holds": found.holds,
        "breaks": found.breaks,
        "knee": knee,
        "capacity_per_s": full[0] if full else None,
        "capacity_interval": full[1] if full else None,
        "findings": report.findings(found, full, knee, steps, unit=unit),
        "exit_code": _exit_code(found, steps),
    }


def _exit_code(found: Bracket, steps: Sequence[Step]) -> ExitCode:
    if found.holds is not None:
        return ExitCode.DONE
    if found.breaks is not None:
        return ExitCode.LOAD_FAIL
    client = any(step.outcome is Outcome.CLIENT for step in steps)
    return ExitCode.LOAD_INVALID if client else ExitCode.LOAD_NOT_ENOUGH
