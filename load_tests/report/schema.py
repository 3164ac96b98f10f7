"""The JSON schema of report.json: `python -m load_tests.report.schema > docs/load-report.schema.json`.

The number behind the slash of `schema` changes when something is renamed or taken away. Keys that are added change
nothing, so readers must bear with keys that they do not know.
"""

import json
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from load_tests.options import RunManifest
from load_tests.report.summary import SCHEMA
from load_tests.verdict.fairness import Fairness, Worst
from load_tests.verdict.intervals import Ratio
from load_tests.verdict.metrics import Distribution, Summary
from load_tests.verdict.slo import GateResult, Slo, Verdict
from load_tests.verdict.slots import Advice
from load_tests.verdict.validity import Check


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class AdapterEffects(_Open):
    """What adapters cost (`load_tests/verdict/adapter_effects.py`)."""

    asked: int
    cold: int
    cold_share: float | None
    cold_share_interval: tuple[float, float] | None
    groups: dict[str, Distribution]
    compared: dict[str, Ratio]
    fairness: Fairness
    worst: Worst | None
    advice: Advice | None


class ServerNumbers(_Open):
    """What the server told of itself (`load_tests/server_metrics.py`); `samples` have seconds on the run's clock."""

    findings: list[str]
    asked: int
    unanswered: int
    samples: list[dict[str, float]]


class ReportFile(_Open):
    """report.json of a load test. Times in milliseconds where the name says so, else in seconds."""

    schema_: Literal["nemostack.load-report/2"] = Field(alias="schema")
    id: str
    started_at: datetime
    verdict: Verdict
    exit_code: int
    slo: Slo | None
    valid: bool
    validity: list[Check]
    gates: list[GateResult]
    run: RunManifest
    window_s: float
    warmup_requests: int
    definitions: dict[str, str]
    overall: Summary
    groups: dict[str, Summary]
    models: dict[str, Summary]
    adapters: AdapterEffects | None
    server: ServerNumbers | None = None
    workers: list[dict[str, Any]]


def schema() -> dict[str, Any]:
    """Return the JSON schema."""
    found = ReportFile.model_json_schema(by_alias=True)
    found["title"] = f"Report of a load test, {SCHEMA}"
    return found


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
