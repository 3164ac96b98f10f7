"""Service level objectives: a YAML file, and the verdict of a run against it.

```yaml
version: 1
min_samples: 50                # fewer in a scope: NOT ENOUGH
per_request: {ttft_ms: 1000, tpot_ms: 100}   # limits that make a request "good": goodput, slo_attainment
objectives:
  - {metric: ttft_ms, stat: p95, max: 1000}
  - {metric: ttft_ms, stat: p95, max: 1500, scope: each-adapter}
  - {metric: tpot_ms, stat: p50, max: 60, scope: "default/legal-*"}   # models by pattern
  - {metric: error_rate, max: 0.01}
  - {metric: slo_attainment, min: 0.95}
  - {metric: ttft_ms, stat: p50, max_ratio: 1.2, scope: canary, to: stable}   # against other models of the same run
```

A ratio passes when its whole 95 % interval is at most the target, and fails when the whole interval is above it.

| verdict    | exit code | meaning                                                             |
|------------|-----------|---------------------------------------------------------------------|
| PASS       | 0         | every objective met (or none given and at least one success)        |
| FAIL       | 20        | at least one objective missed, or no request succeeded               |
| NOT ENOUGH | 21        | nothing missed, but some objective had too few samples               |
| INVALID    | 22        | the client or the run spoiled the measurement: says nothing of NIM   |

Other codes are those of every command (`nemostack/exit_codes.py`). Values come from raw samples, never from Locust's
buckets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from load_tests.client.records import RequestRecord
from load_tests.verdict import metrics
from load_tests.verdict.contrast import of_groups
from load_tests.verdict.token_rate import Window
from nemostack.errors import BadInput
from nemostack.exit_codes import ExitCode
from nemostack.validation import validation_lines

LatencyName = Literal[
    "ttft_ms",
    "tpot_ms",
    "itl_ms",
    "e2e_ms",
    "normalized_tpot_ms",
    "send_lag_ms",
    "ttft_from_schedule_ms",
    "e2e_from_schedule_ms",
]
ScalarName = Literal["request_throughput", "output_token_throughput", "error_rate", "goodput", "slo_attainment"]
PerRequestName = Literal["ttft_ms", "tpot_ms", "e2e_ms", "ttft_from_schedule_ms", "e2e_from_schedule_ms"]
Positive = Annotated[float, Field(gt=0)]


class Verdict(StrEnum):
    """Of an objective or a run."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    NOT_ENOUGH = "NOT ENOUGH"
    INVALID = "INVALID"


EXIT_CODES: Final = {
    Verdict.PASS: ExitCode.DONE,
    Verdict.FAIL: ExitCode.LOAD_FAIL,
    Verdict.NOT_ENOUGH: ExitCode.LOAD_NOT_ENOUGH,
    Verdict.INVALID: ExitCode.LOAD_INVALID,
}


class Objective(BaseModel):
    """One line of the SLO file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: LatencyName | ScalarName
    stat: Annotated[str, Field(pattern=r"^(p(50|90|95|99|99\.9)|mean|max)$")] | None = None
    max: float | None = None
    min: float | None = None
    max_ratio: float | None = Field(default=None, gt=0, description="Highest ratio to the models named by `to`")
    scope: str = Field(
        default="overall", description="overall, each-model, each-adapter, canary, stable or a pattern of model ids"
    )
    to: str | None = Field(default=None, description="base, stable or a pattern of model ids, for max_ratio")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if sum(bound is not None for bound in (self.max, self.min, self.max_ratio)) != 1:
            raise ValueError("give exactly one of max, min and max_ratio")
        if (self.max_ratio is None) != (self.to is None):
            raise ValueError("max_ratio and to belong together")
        if self.max_ratio is not None and self.metric in {*metrics.SCALARS, "itl_ms"}:
            raise ValueError(f"max_ratio is not for {self.metric}")
        if self.max_ratio is not None and not (self.stat or "").startswith("p"):
            raise ValueError("max_ratio needs stat: a percentile")
        if self.metric in metrics.LATENCIES and self.stat is None:
            raise ValueError(f"{self.metric} needs stat: p50, p90, p95, p99, p99.9, mean or max")
        if self.metric in metrics.SCALARS and self.stat is not None:
            raise ValueError(f"{self.metric} is one number: leave stat out")
        return self


class Slo(BaseModel):
    """The SLO file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1]
    description: str = ""
    min_samples: int = Field(default=50, ge=1)
    per_request: dict[PerRequestName, Positive] = Field(default_factory=dict)
    objectives: list[Objective] = Field(min_length=1)

    @model_validator(mode="after")
    def _limits_given(self) -> Self:
        if not self.per_request and any(o.metric in {"goodput", "slo_attainment"} for o in self.objectives):
            raise ValueError("goodput and slo_attainment need per_request limits")
        return self

    @property
    def limits(self) -> dict[str, float]:
        """Per-request limits by metric, ms."""
        return {str(name): limit for name, limit in self.per_request.items()}

    @property
    def ttft_limit_ms(self) -> float | None:
        """Strictest limit on TTFT, from which the validity rules take what delay of the client is too much."""
        limits = [o.max for o in self.objectives if o.metric.startswith("ttft") and o.max is not None]
        return min([*limits, *(v for k, v in self.limits.items() if k.startswith("ttft"))], default=None)


def read_slo(path: Path) -> Slo:
    """Read and check an SLO file. Raises BadInput with one line an error."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "options" in content and "slo" in content:
            content = content["slo"]  # of a scenario, which holds its objectives
        return Slo.model_validate(content)
    except ValidationError as error:
        raise BadInput("\n  ".join([f"{path} is not a valid SLO file:", *validation_lines(error)])) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"cannot read SLO file {path}: {' '.join(str(error).split())}") from error


@dataclass(frozen=True, slots=True)
class GateResult:
    """One objective on one scope: its target, the value measured, and on how many samples.

    `margin` is the distance to the target as a share of it, negative when missed; None without value or with target 0.
    """

    metric: str
    stat: str | None
    scope: str
    bound: Literal["max", "min", "max_ratio"]
    target: float
    value: float | None
    interval: tuple[float, float] | None
    samples: int
    needed: int
    verdict: Verdict
    margin: float | None
    to: str | None = None


def _margin(bound: str, target: float, value: float | None) -> float | None:
    if value is None or target == 0:
        return None
    return (value - target if bound == "min" else target - value) / abs(target)


def _scopes(
    objective: Objective,
    records: Sequence[RequestRecord],
    models: Sequence[str],
    base: str,
    aliases: Mapping[str, str],
) -> list[tuple[str, list[RequestRecord]]]:
    if objective.scope == "overall":
        return [("overall", list(records))]
    if objective.scope == "each-model":
        chosen = list(models)
    elif objective.scope == "each-adapter":
        chosen = [model for model in models if model != base]
    else:
        pattern = aliases.get(objective.scope, objective.scope)
        chosen = [model for model in models if model == pattern or fnmatchcase(model, pattern)]
    if not chosen:
        return [(objective.scope, [])]  # nobody was asked: NOT ENOUGH, never a silent pass
    return [(model, [r for r in records if r.model == model]) for model in chosen]


def _ratio(
    slo: Slo, objective: Objective, scope: str, *, chosen: list[RequestRecord], others: list[RequestRecord]
) -> GateResult:
    """Judge a percentile of some models against that of others of the same window."""
    p = float((objective.stat or "")[1:])
    found = of_groups(others, chosen, objective.metric, p)
    needed, samples = max(slo.min_samples, metrics.enough_for(p)), min(found.values)
    target = objective.max_ratio or 0.0
    interval = None if found.low is None or found.high is None else (found.low, found.high)
    verdict = Verdict.NOT_ENOUGH
    if interval is not None and samples >= needed:
        verdict = Verdict.PASS if interval[1] <= target else Verdict.FAIL if interval[0] > target else verdict
    return GateResult(
        metric=objective.metric,
        stat=objective.stat,
        scope=scope,
        bound="max_ratio",
        target=target,
        value=found.ratio,
        interval=interval,
        samples=samples,
        needed=needed,
        verdict=verdict,
        margin=_margin("max_ratio", target, found.ratio),
        to=objective.to,
    )


def _measure(
    objective: Objective, records: list[RequestRecord], window: Window, limits: dict[str, float]
) -> tuple[float | None, tuple[float, float] | None, int]:
    """Value, 95 % interval and number of samples."""
    if objective.metric in metrics.SCALARS:
        summary = metrics.summarise(records, window, limits)
        interval = summary.scalar_intervals.get(objective.metric)
        return summary.scalars[objective.metric], interval, summary.successes + summary.errors
    inside = (r for r in records if window.holds(r.due))
    ordered = np.sort(np.asarray(metrics.samples(inside, objective.metric), dtype=np.float64))
    if not len(ordered):
        return None, None, 0
    if objective.stat == "mean":
        return float(ordered.mean()), None, len(ordered)
    if objective.stat == "max":
        return float(ordered[-1]), None, len(ordered)
    p = float((objective.stat or "")[1:])
    return metrics.percentile(ordered, p), metrics.percentile_interval(ordered, p), len(ordered)


def judge(
    slo: Slo,
    records: Sequence[RequestRecord],
    *,
    window: Window,
    models: Sequence[str],
    base: str,
    aliases: Mapping[str, str] | None = None,
) -> list[GateResult]:
    """Hold a window of the run against each objective. `records` are those of the whole run.

    `aliases` are names for models that scopes may use: canary, stable.
    """
    aliases = {"base": base, **(aliases or {})}
    results: list[GateResult] = []
    for objective in slo.objectives:
        needed = slo.min_samples
        if objective.stat and objective.stat.startswith("p"):
            needed = max(needed, metrics.enough_for(float(objective.stat[1:])))
        for scope, chosen in _scopes(objective, records, models, base, aliases):
            if objective.max_ratio is not None:
                pattern = aliases.get(objective.to or "", objective.to or "")
                inside = [r for r in chosen if window.holds(r.due)]
                others = [r for r in records if fnmatchcase(r.model, pattern) and window.holds(r.due)]
                results.append(_ratio(slo, objective, scope, chosen=inside, others=others))
                continue
            value, interval, count = _measure(objective, chosen, window, slo.limits)
            bound: Literal["max", "min"] = "max" if objective.max is not None else "min"
            target = objective.max if objective.max is not None else objective.min
            assert target is not None  # exactly one is given
            if value is None or count < needed:
                verdict = Verdict.NOT_ENOUGH
            else:
                met = value <= target if bound == "max" else value >= target
                verdict = Verdict.PASS if met else Verdict.FAIL
            results.append(
                GateResult(
                    metric=objective.metric,
                    stat=objective.stat,
                    scope=scope,
                    bound=bound,
                    target=target,
                    value=value,
                    interval=interval,
                    samples=count,
                    needed=needed,
                    verdict=verdict,
                    margin=_margin(bound, target, value),
                )
            )
    return results


def overall(results: Sequence[GateResult], *, valid: bool, successes: int) -> Verdict:
    """Decide the run: INVALID before FAIL before NOT ENOUGH before PASS."""
    if not valid:
        return Verdict.INVALID
    if successes == 0 or any(r.verdict is Verdict.FAIL for r in results):
        return Verdict.FAIL
    if any(r.verdict is Verdict.NOT_ENOUGH for r in results):
        return Verdict.NOT_ENOUGH
    return Verdict.PASS
