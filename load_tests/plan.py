"""What one `nemostack load` is to do: a scenario's options below the user's, its repeats, and where they go.

Locust takes all other options; those here are about runs as a whole, and never reach it.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from load_tests import scenarios
from load_tests import search as saturation_search
from load_tests.places import default_out
from load_tests.search import Search
from nemostack.errors import BadInput
from nemostack.exit_codes import ExitCode

_BY_SEVERITY: Final = (ExitCode.DONE, ExitCode.LOAD_NOT_ENOUGH, ExitCode.LOAD_FAIL, ExitCode.LOAD_INVALID)
OUT_VARIABLE: Final = "NEMOSTACK_LOAD_OUT"


@dataclass(frozen=True, slots=True)
class Plan:
    """Options for Locust, the folders of the runs, and the tracking server that is told of them."""

    arguments: list[str]
    folders: list[Path]
    mlflow: str | None
    experiment: str
    notes: list[str]
    journey: Path | None = None
    search: Search | None = None


def parser() -> argparse.ArgumentParser:
    """Make the parser of the options that are about runs as a whole."""
    made = argparse.ArgumentParser(prog="nemostack load", add_help=False, allow_abbrev=False, usage=argparse.SUPPRESS)
    group = made.add_argument_group("Runs as a whole")
    named = ", ".join(scenarios.names())
    group.add_argument("--scenario", metavar="NAME|FILE", help=f"Options and objectives from a file, or one of {named}")
    group.add_argument(
        "--repeat", type=int, metavar="N", help="Run so many times, for `load compare`; folders OUT/1 to OUT/N"
    )
    group.add_argument("--journey", metavar="FILE", help="Users of your own in Locust Python (load_tests.journeys)")
    group.add_argument(
        "--mlflow", metavar="URI", help="Log each run in this MLflow, linked to its adapters' evaluations"
    )
    group.add_argument("--experiment", default="load-tests", help="MLflow experiment (default: load-tests)")
    group.add_argument("--out", metavar="DIR", help="Where results go; a new folder (default: runs/load-*)")
    saturation_search.add_options(made.add_argument_group("Saturation: runs at rising rates, until the SLO breaks"))
    return made


def make(arguments: Sequence[str]) -> Plan:
    """Read what is about runs as a whole. Raises BadInput."""
    known, rest = parser().parse_known_args(list(arguments))
    repeat, notes = known.repeat, []
    if known.scenario:
        path = scenarios.find(known.scenario)
        scenario = scenarios.read(path)
        given = {word.partition("=")[0].removeprefix("--") for word in rest if word.startswith("--")}
        if missing := [name for name in scenario.needs if name not in given]:
            wanted = " and ".join(f"--{name}" for name in missing)
            raise BadInput(f"scenario {known.scenario} needs {wanted}: {scenario.description}")
        repeat = repeat or scenario.repeat
        own = scenario.arguments()
        if scenario.needs_adapters:
            own += ["--needs-adapters", str(scenario.needs_adapters)]
        if scenario.slo is not None and "slo" not in given:
            own += ["--slo", str(path)]
        rest = [*own, *rest]
        notes.append(f"scenario {path.stem}: {scenario.description}")
    if repeat is not None and repeat < 1:
        raise BadInput(f"--repeat must be 1 or more, not {repeat}")
    if known.journey and not Path(known.journey).is_file():
        raise BadInput(f"--journey {known.journey}: no such file")
    searched = saturation_search.search_from(known)
    if searched is not None and known.repeat:
        raise BadInput("--repeat is for one rate: --find-max repeats by itself (--attempts)")
    out = Path(known.out or os.environ.get(OUT_VARIABLE) or default_out())
    folders = (
        [out] if searched is not None or not repeat or repeat == 1 else [out / str(k) for k in range(1, repeat + 1)]
    )
    journey = Path(known.journey) if known.journey else None
    return Plan(rest, folders, known.mlflow, known.experiment, notes, journey, searched)


def execute(plan: Plan, run: Callable[[list[str]], int], publish: Callable[[Path], None]) -> int:
    """Run all of it, and return the worst verdict. A run that ends without a verdict ends the rest too."""
    if plan.search is not None:

        def publish_step(folder: Path) -> None:
            if plan.mlflow:
                publish(folder)

        return saturation_search.execute(plan.search, plan.arguments, plan.folders[0], run, publish_step)
    codes = []
    for folder in plan.folders:
        code = run([*plan.arguments, "--out", str(folder)])
        if code not in _BY_SEVERITY:
            return code
        codes.append(ExitCode(code))
        if plan.mlflow:
            publish(folder)
    return max(codes, key=_BY_SEVERITY.index)
