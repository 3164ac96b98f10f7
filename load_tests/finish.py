"""The two ends of a run: the folder it begins, and the report and verdict it ends with.

A folder holds one run and is never appended to: `run.json` (what was asked), `raw/requests-N.jsonl` and
`raw/worker-N.json` (by worker), then `report.json`, `report.csv`, `report.html` and `requests.jsonl` (all workers'
requests in the order they were due). The raw files are enough to make the report again, with other objectives too.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

import locust
from pydantic import ValidationError

from load_tests import report
from load_tests.adapters import PreflightError, ServedModels
from load_tests.gates import read_slo
from load_tests.spec import Card, LoadSpec, ModelShare

CARD: Final = "run.json"


def begin(spec: LoadSpec, models: ServedModels, *, workers: int) -> None:
    """Make the run's folder and write its card. Refuses a folder that has anything in it."""
    if spec.out.exists() and (not spec.out.is_dir() or any(spec.out.iterdir())):
        raise PreflightError(f"{spec.out} is not an empty folder; results are never mixed: choose another --out")
    spec.out.mkdir(parents=True, exist_ok=True)
    card = Card(
        spec=spec,
        base_model=models.base,
        models=[ModelShare(id=model, share=share) for model, share in spec.mix.shares(models).items()],
        workers=workers,
        versions={"python": sys.version.split()[0], "locust": locust.__version__, **_commit()},
    )
    (spec.out / CARD).write_text(card.model_dump_json(indent=2), encoding="utf-8")


def _commit() -> dict[str, str]:
    """Read the commit of the clone we run in; nothing where there is no git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--tags"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"nemostack": done.stdout.strip()}


def read_card(folder: Path) -> Card:
    """Read what the run in `folder` was asked to do. Raises PreflightError."""
    try:
        return Card.model_validate_json((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise PreflightError(f"{folder} is not the folder of a load test: {error}") from error


def finish(folder: Path, slo_file: Path | None = None) -> int:
    """Write the report of the run in `folder`, print its summary, return the exit code of its verdict."""
    card = read_card(folder)
    slo_path = slo_file or card.spec.slo
    result = report.build(card, read_slo(slo_path) if slo_path else None, folder)
    report.write(result, folder)
    print(report.text(result))
    print(f"report: {folder / 'report.html'}")
    return int(result.data["exit_code"])
