"""Scenario files, what a plan makes of them, and objectives against other models of the same run."""

import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from load_tests import plan, scenarios
from load_tests.client.records import RequestRecord
from load_tests.verdict.slo import Slo, Verdict, judge, read_slo
from load_tests.verdict.token_rate import Window
from nemostack.clone import ROOT
from nemostack.errors import BadInput

SCHEMA = ROOT / "docs" / "load-scenario.schema.json"


@pytest.mark.parametrize("name", scenarios.names())
def test_shipped_scenarios_hold_against_program_and_schema(name: str) -> None:
    path = scenarios.find(name)
    scenario = scenarios.read(path)
    assert scenario.slo is not None
    assert read_slo(path) == scenario.slo  # as `--slo` and `load report` read it
    jsonschema.validate(yaml.safe_load(path.read_text()), json.loads(SCHEMA.read_text()))


def test_the_schema_is_that_of_the_program() -> None:
    assert json.loads(SCHEMA.read_text()) == scenarios.schema(), (
        "run `python -m load_tests.scenarios > docs/load-scenario.schema.json`"
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"user": 3}, "options.user: no option of `nemostack load`"),
        ({"nim-url": "http://x"}, "options.nim-url: no option"),
        ({"interleave": 3}, "options.interleave: true or false is wanted, not 3"),
        ({"users": "many"}, "options.users: 'many' is no int"),
        ({"mix": "random"}, "options.mix: 'random' is none of weights, zipf"),
        ({"users": True}, "options.users: a value is wanted"),
    ],
)
def test_scenarios_are_checked(tmp_path: Path, options: dict[str, Any], complaint: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"version": 1, "description": "mine", "options": options}))
    with pytest.raises(BadInput, match=complaint):
        scenarios.read(path)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(path.read_text()), scenarios.schema())


def test_a_plan_puts_the_user_above_the_scenario(tmp_path: Path) -> None:
    made = plan.make(["--scenario", "adapters-mix", "--users", "3", "--out", str(tmp_path)])
    arguments = made.arguments
    assert arguments.index("16") < arguments.index("3")  # the last one counts
    assert "--interleave" in arguments
    assert arguments[arguments.index("--needs-adapters") + 1] == "2"
    assert Path(arguments[arguments.index("--slo") + 1]) == scenarios.find("adapters-mix")
    assert made.folders == [tmp_path]
    assert "--slo" not in plan.make(["--scenario", "smoke", "--slo=mine.yaml"]).arguments
    assert plan.make(["--scenario", "baseline", "--out", "x"]).folders == [Path("x/1"), Path("x/2"), Path("x/3")]
    assert plan.make(["--scenario", "baseline", "--repeat", "1", "--out", "x"]).folders == [Path("x")]


def test_a_scenario_may_be_a_search_and_the_user_varies_it() -> None:
    made = plan.make(["--scenario", "saturation", "--out", "x"])
    assert made.search is not None
    assert (made.search.rates, made.search.start, made.search.attempts) == ((), 1.0, 3)
    assert "--find-max" not in made.arguments
    assert made.folders == [Path("x")]
    other = plan.make(["--scenario", "saturation", "--start-rate", "4", "--attempts", "1"]).search
    assert other is not None
    assert (other.start, other.attempts) == (4.0, 1)
    steps = plan.make(["--scenario", "saturation", "--steps", "2,4,8"]).search
    assert steps is not None
    assert steps.rates == (2.0, 4.0, 8.0)
    with pytest.raises(BadInput, match="--repeat is for one rate"):
        plan.make(["--scenario", "saturation", "--repeat", "2"])


def test_what_a_plan_refuses() -> None:
    with pytest.raises(BadInput, match=r"no scenario 'smoky', and no file .* there are adapters-mix, baseline"):
        plan.make(["--scenario", "smoky"])
    with pytest.raises(BadInput, match="scenario canary needs --canary"):
        plan.make(["--scenario", "canary"])
    with pytest.raises(BadInput, match="--repeat must be 1 or more"):
        plan.make(["--repeat", "0"])


@pytest.mark.parametrize(
    ("codes", "worst", "runs"),
    [([0, 21, 0], 21, 3), ([20, 21, 0], 20, 3), ([0, 22, 20], 22, 3), ([0, 4, 0], 4, 2), ([0, 130, 0], 130, 2)],
)
def test_repeats_end_in_the_worst_verdict(codes: list[int], worst: int, runs: int) -> None:
    left = list(codes)
    outs: list[str] = []
    told: list[Path] = []

    def run(arguments: list[str]) -> int:
        outs.append(arguments[-1])
        return left.pop(0)

    made = plan.make(["--repeat", "3", "--out", "x", "--mlflow", "http://tracking"])
    assert plan.execute(made, run, told.append) == worst
    assert outs == ["x/1", "x/2", "x/3"][:runs]
    assert len(told) == sum(code in {0, 20, 21, 22} for code in codes[:runs])


def _replies(model: str, ttft: float, count: int, seed: int) -> list[RequestRecord]:
    rng = random.Random(seed)
    return [
        RequestRecord(f"{model}{k}", 0, model, None, k / 10, k / 10 + ttft * rng.lognormvariate(0, 0.1), k / 10 + 1.0)
        for k in range(count)
    ]


@pytest.mark.parametrize(
    ("ttft", "count", "verdict"),
    [
        (0.10, 200, Verdict.PASS),
        (0.20, 200, Verdict.FAIL),
        (0.12, 200, Verdict.NOT_ENOUGH),  # at the limit: the interval holds it
        (0.10, 10, Verdict.NOT_ENOUGH),
    ],
)
def test_an_objective_against_another_model_of_the_run(ttft: float, count: int, verdict: Verdict) -> None:
    objective = {"metric": "ttft_ms", "stat": "p50", "max_ratio": 1.2, "scope": "canary", "to": "stable"}
    slo = Slo.model_validate({"version": 1, "min_samples": 50, "objectives": [objective]})
    records = _replies("a@1", 0.10, 200, 1) + _replies("a@2", ttft, count, 2)
    aliases = {"stable": "a@1", "canary": "a@2"}
    (gate,) = judge(slo, records, window=Window(0, 30), models=["b", "a@1", "a@2"], base="b", aliases=aliases)
    assert gate.verdict is verdict
    assert gate.value == pytest.approx(ttft / 0.10, rel=0.1)


@pytest.mark.parametrize(
    ("objective", "complaint"),
    [
        ({"metric": "ttft_ms", "stat": "p50", "max_ratio": 2}, "belong together"),
        ({"metric": "error_rate", "max_ratio": 2, "to": "base"}, "max_ratio is not for error_rate"),
        ({"metric": "ttft_ms", "stat": "mean", "max_ratio": 2, "to": "base"}, "a percentile"),
    ],
)
def test_objectives_against_others_are_checked(tmp_path: Path, objective: dict[str, object], complaint: str) -> None:
    path = tmp_path / "slo.yaml"
    path.write_text(json.dumps({"version": 1, "objectives": [objective]}))
    with pytest.raises(BadInput, match=complaint):
        read_slo(path)
