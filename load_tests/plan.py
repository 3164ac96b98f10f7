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
from load_tests.cluster.request import Fleet, fleet_from
from load_tests.places import default_out
from load_tests.run_folder import VERDICTS
from load_tests.search import Search
from nemostack.errors import BadInput
from nemostack.exit_codes import ExitCode

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
    fleet: Fleet | None = None
    web: bool = False


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
    group.add_argument(
        "--web", action="store_true", help="Show the run while it lasts, on a page of this machine (--web-port)"
    )
    group.add_argument("--out", metavar="DIR", help="Where results go; a new folder (default: runs/load-*)")
    pods = made.add_argument_group("Load from the stack's cluster")
    pods.add_argument("--workers", type=int, metavar="N", help="Send from so many pods in the cluster of --stack")
    pods.add_argument("--image", help="Image with nemostack for them (or NEMOSTACK_LOAD_IMAGE)")
    pods.add_argument("--image-pull-secret", metavar="NAME", help="Secret of its registry, in NIM's namespace")
    saturation_search.add_options(made.add_argument_group("Saturation: runs at rising rates, until the SLO breaks"))
    return made


def make(arguments: Sequence[str]) -> Plan:
    """Read what is about runs as a whole. Raises BadInput."""
    known, rest = parser().parse_known_args(list(arguments))
    repeat, notes = known.repeat, list[str]()
    if known.scenario:
        path = scenarios.find(known.scenario)
        scenario = scenarios.read(path)
        given = {word.partition("=")[0].removeprefix("--") for word in rest if word.startswith("--")}
        if missing := [name for name in scenario.needs if name not in given]:
            wanted = " and ".join(f"--{name}" for name in missing)
            raise BadInput(f"scenario {known.scenario} needs {wanted}: {scenario.description}")
        repeat = repeat or scenario.repeat
        own = scenario.arguments()
        if known.steps:  # the user's way to the limit in place of the scenario's
            own = [word for word in own if word != "--find-max"]
        if scenario.needs_adapters:
            own += ["--needs-adapters", str(scenario.needs_adapters)]
        if scenario.slo is not None and "slo" not in given:
            own += ["--slo", str(path)]
        known, rest = parser().parse_known_args([*own, *arguments])
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
    journey, fleet = Path(known.journey) if known.journey else None, fleet_from(known)
    if known.web and (searched is not None or len(folders) > 1 or fleet is not None):
        raise BadInput("--web shows one run from this machine: leave --steps, --find-max, --repeat and --workers out")
    return Plan(rest, folders, known.mlflow, known.experiment, notes, journey, searched, fleet, known.web)


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
        if code not in VERDICTS:
            return code
        codes.append(ExitCode(code))
        if plan.mlflow:
            publish(folder)
    return max(codes, key=VERDICTS.index)
