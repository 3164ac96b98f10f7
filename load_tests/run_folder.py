"""The folder of a run: its manifest at the beginning, its report and verdict at the end.

A folder holds one run and is never appended to: `run.json` (the manifest), `raw/requests-N.jsonl` and
`raw/worker-N.json` (by worker), then `report.json`, `report.csv`, `report.html` and `requests.jsonl` (all workers'
requests in the order they were due). The raw files are enough to make the report again, with other objectives too.
"""

import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from load_tests.options import LoadSpec, ModelShare, RunManifest
from load_tests.report import summary
from load_tests.traffic.adapters import ServedModels
from load_tests.traffic.residency import Slots
from load_tests.traffic.token_texts import TokenTexts
from load_tests.verdict.slo import read_slo
from nemostack.clone import describe_commit
from nemostack.errors import BadInput
from nemostack.exit_codes import ExitCode
from nemostack.validation import validation_lines

MANIFEST: Final = "run.json"
VERDICTS: Final = (ExitCode.DONE, ExitCode.LOAD_NOT_ENOUGH, ExitCode.LOAD_FAIL, ExitCode.LOAD_INVALID)
"""Exit codes of runs that came to a verdict, the best first."""


def refuse_used(folder: Path) -> None:
    """Raise BadInput for a folder that has anything in it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} is not an empty folder; results are never mixed: choose another --out")


def create(
    spec: LoadSpec,
    models: ServedModels,
    *,
    workers: int,
    slots: Slots,
    token_texts: TokenTexts | None = None,
    churn_sources: Sequence[tuple[str, str]] = (),
) -> RunManifest:
    """Make the folder of a run and write its manifest. Refuses a folder that has anything in it."""
    refuse_used(spec.out)
    spec.out.mkdir(parents=True, exist_ok=True)
    versions = {"python": sys.version.split()[0], "locust": importlib.metadata.version("locust")}
    if commit := describe_commit():
        versions["nemostack"] = commit
    manifest = RunManifest(
        spec=spec,
        base_model=models.base,
        models=[ModelShare(id=model, share=share) for model, share in spec.mix.shares(models).items()],
        slots=slots,
        token_texts=token_texts,
        churn_sources=list(churn_sources),
        workers=workers,
        versions=versions,
    )
    (spec.out / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    return manifest


def read_manifest(folder: Path) -> RunManifest:
    """Read the manifest of the run in `folder`. Raises BadInput."""
    try:
        return RunManifest.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{folder} is not the folder of a load test: {error}") from error
    except ValidationError as error:
        lines = "; ".join(validation_lines(error))
        raise BadInput(f"{folder / MANIFEST} is not of this version of nemostack: {lines}") from error


def conclude(folder: Path, slo_file: Path | None = None) -> int:
    """Write the report of the run in `folder`, print its summary, return the exit code of its verdict."""
    manifest = read_manifest(folder)
    slo_path = slo_file or manifest.spec.slo
    report = summary.build(manifest, read_slo(slo_path) if slo_path else None, folder)
    summary.write(report, folder)
    print(summary.text(report))
    print(f"report: {folder / 'report.html'}")
    return int(report.data["exit_code"])
