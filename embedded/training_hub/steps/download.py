"""First step: the base model and the rows, from their filesets into the job's folder.

Of a model only weights in safetensors, its configuration and its tokenizer are fetched: nothing in it is executed.
Refuses filesets without rows to train on, and models larger than the trainer takes.
"""

import fnmatch
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from embedded.customizer.spec import JobError
from embedded.customizer.stored_model import FILES, MAX_BYTES
from embedded.training_hub.jobs import split
from embedded.training_hub.steps.job import PLATFORM_ERRORS, Job, below

TRAINING_NAMES, VALIDATION_NAMES = ("training", "train"), ("validation", "valid", "val")


@dataclass(frozen=True)
class Fetch:
    """Files of one fileset: path in it -> where it goes."""

    workspace: str
    name: str
    files: dict[str, Path]
    sizes: dict[str, int]

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(self.sizes[path] for path in self.files)


def run(job: Job) -> None:
    """Fetch all that is needed."""
    fetches = [_rows(job, job.terms.training, "training"), _model(job)]
    if job.terms.validation:
        fetches.append(_rows(job, job.terms.validation, "validation"))
    for done, fetch in enumerate(fetches):
        _fetch(job, fetch, {"total_filesets": len(fetches), "completed_filesets": done})
    job.report("completed", total_filesets=len(fetches), completed_filesets=len(fetches), progress_pct=100)


def _listed(job: Job, reference: str) -> tuple[str, str, dict[str, int]]:
    workspace, name = split(reference, job.workspace)
    try:
        found = job.platform.files.list(fileset=name, workspace=workspace).data
    except PLATFORM_ERRORS as error:
        raise JobError(f"fileset {workspace}/{name} cannot be read: {error}") from error
    return workspace, name, {file.path: file.size or 0 for file in found}


def _model(job: Job) -> Fetch:
    workspace, name, sizes = _listed(job, job.base["fileset"])
    wanted = [path for path in sizes if any(fnmatch.fnmatchcase(path, pattern) for pattern in FILES)]
    fetch = Fetch(workspace, name, {path: below(job.files.base, path) for path in wanted}, sizes)
    if not any(path.endswith(".safetensors") for path in wanted):
        raise JobError(
            f"model {job.model}: fileset {workspace}/{name} has no *.safetensors, the only weights that are loaded",
            f"It has: {', '.join(sorted(sizes)[:10]) or 'nothing'}.",
        )
    if fetch.bytes > MAX_BYTES:
        raise JobError(
            f"model {job.model}: {fetch.bytes >> 30} GiB, more than the {MAX_BYTES >> 30} GiB that are taken"
        )
    return fetch


def _rows(job: Job, reference: str, part: str) -> Fetch:
    workspace, name, sizes = _listed(job, reference)
    files = placed([path for path in sizes if path.endswith(".jsonl")], part, alone=part == "validation")
    if not any(place.startswith(f"{part}/") for place in files.values()):
        raise JobError(
            f"fileset {workspace}/{name}: no .jsonl file to take for {part}",
            f"It has: {', '.join(sorted(sizes)[:10]) or 'nothing'}. Upload rows as {part}.jsonl or {part}/NAME.jsonl.",
        )
    if part == "training" and job.terms.validation:
        files = {path: place for path, place in files.items() if place.startswith("training/")}
    return Fetch(workspace, name, {path: below(job.files.dataset, place) for path, place in files.items()}, sizes)


def placed(paths: list[str], part: str, *, alone: bool) -> dict[str, str]:
    """Sort the files of a dataset into `training/` and `validation/`, by their folder or their name.

    A fileset whose files say neither is all of `part`. `alone`: only that part is wanted.
    """
    sorted_in = {path: f"{kind}/{path.replace('/', '-')}" for path in paths if (kind := _kind(path))}
    wanted = {path: place for path, place in sorted_in.items() if not alone or place.startswith(f"{part}/")}
    has_part = any(place.startswith(f"{part}/") for place in wanted.values())
    rest = [] if has_part else [path for path in paths if path not in sorted_in]
    return wanted | {path: f"{part}/{path.replace('/', '-')}" for path in rest}


def _kind(path: str) -> str | None:
    names = PurePosixPath(path)
    first = names.parts[0].lower() if len(names.parts) > 1 else names.stem.lower()
    if first in TRAINING_NAMES:
        return "training"
    return "validation" if first in VALIDATION_NAMES else None


def _fetch(job: Job, fetch: Fetch, counts: dict[str, Any]) -> None:
    done, fileset = 0, f"{fetch.workspace}/{fetch.name}"
    for number, (path, target) in enumerate(fetch.files.items(), 1):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".partial")
        try:
            job.platform.files.fsspec.get_file(f"{fileset}#{path}", str(partial))
        except PLATFORM_ERRORS as error:
            raise JobError(f"fileset {fileset}: {path} cannot be fetched: {error}") from error
        partial.replace(target)
        done += fetch.sizes[path]
        job.report(
            "downloading",
            current_fileset=fileset,
            fileset=fileset,
            total_files=len(fetch.files),
            total_size=fetch.bytes,
            downloaded_files=number,
            downloaded_bytes=done,
            current_file=path,
            progress_pct=round(100 * done / max(1, fetch.bytes)),
            **counts,
        )
