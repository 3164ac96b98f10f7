"""Third step: what training left becomes a fileset of its own."""

from nemo_platform import ConflictError

from embedded.customizer.spec import JobError
from embedded.training_hub.steps.job import PLATFORM_ERRORS, Job


def run(job: Job) -> None:
    """Upload the artifact's files, and delete them here."""
    output, artifact = job.terms.output, job.files.artifact
    files = sorted(path for path in artifact.rglob("*") if path.is_file())
    total, done = sum(path.stat().st_size for path in files), 0
    fileset = f"{job.workspace}/{output.fileset}"
    try:
        _create(job)
        for number, path in enumerate(files, 1):
            name = path.relative_to(artifact).as_posix()
            job.platform.files.fsspec.put_file(str(path), f"{fileset}#{name}")
            done += path.stat().st_size
            job.report(
                "uploading",
                total_filesets=1,
                completed_filesets=0,
                current_fileset=fileset,
                fileset=fileset,
                total_files=len(files),
                total_size=total,
                uploaded_files=number,
                uploaded_bytes=done,
                current_file=name,
                progress_pct=round(100 * done / max(1, total)),
            )
    except PLATFORM_ERRORS as error:
        raise JobError(f"fileset {fileset}: uploading failed: {error}") from error
    job.discard()


def _create(job: Job) -> None:
    output = job.terms.output
    try:
        job.platform.files.filesets.create(
            name=output.fileset,
            workspace=job.workspace,
            description=output.description or f"{output.type} trained on {job.model}",
        )
    except ConflictError:
        print(f"fileset {output.fileset} is there already, from an earlier attempt of this step", flush=True)
