"""A job's own process: fetch the dataset and, if need be, the base model, check them, train, upload.

It reports to the job's progress file. Cheap checks come before torch is loaded. Everything is repeatable: started again
after an interruption, a worker goes on from the last checkpoint, or with the upload when training was done. It ends
itself when the service is gone, and a lock keeps a successor waiting until it has.
"""

import errno
import multiprocessing
import multiprocessing.connection
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

from embedded.common.files_url import FilesUrl, FilesUrlError
from embedded.common.names import now
from embedded.customizer import devices, replicas, stored_model, stores
from embedded.customizer.progress import Reporter
from embedded.customizer.spec import JobError, JobFolder, JobSpec
from embedded.customizer.training_rows import Rows, Template, read_rows
from nemostack.files import locked

LOCK_WAIT_S = 10.0
EXIT_FAILED = 1
EXIT_DISK_FULL = 28
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def main(root: str) -> None:
    """Entry point of the process; exits 0 when the artifact is in the Data Store, EXIT_FAILED after a report."""
    folder = JobFolder(Path(root))
    _redirect_output(folder.log)
    _end_with_parent()
    os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_TELEMETRY="1")
    try:
        with job_lock(folder.lock):
            reporter = Reporter(folder.progress)
            try:
                run(folder, reporter)
            except Exception as error:  # noqa: BLE001 - whoever started the job must see it, whatever it is
                traceback.print_exc()
                if disk_full(error):
                    sys.exit(EXIT_DISK_FULL)  # a report could not be written either
                reporter.failed(describe(error))
                sys.exit(EXIT_FAILED)
    except OSError as error:
        if disk_full(error):
            sys.exit(EXIT_DISK_FULL)
        raise


def disk_full(error: BaseException | None) -> bool:
    """Whether a write failed for lack of room; torch and safetensors wrap the OSError or only quote it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            return True
        if any(f"os error {number})" in str(error) for number in _DISK_FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


def describe(error: BaseException) -> dict[str, Any]:
    """`error` in the shape of `JobLogs.error`."""
    frames = traceback.extract_tb(error.__traceback__)
    expected = isinstance(error, JobError)
    message = error.message if isinstance(error, JobError) else f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError):
        message = "out of memory: lower batch_size or max_seq_length, or take a smaller base model"
    return {
        "message": message,
        "explanation": error.explanation if isinstance(error, JobError) else None,
        "exception_type": type(error).__name__,
        "stack_trace": None if expected else "".join(traceback.format_exception(error)),
        "file": frames[-1].filename if frames else None,
        "line": frames[-1].lineno if frames else None,
        "timestamp": now(),
    }


def _redirect_output(log: Path) -> None:
    target = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(target, stream)
    os.close(target)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(EXIT_FAILED)

    threading.Thread(target=watch, daemon=True).start()


def end_with_input() -> None:
    """End this process when its standard input is closed: whoever started it is gone."""

    def watch() -> None:
        while os.read(0, 1):  # not sys.stdin, whose lock would be held when Python ends, which is fatal
            pass
        os._exit(EXIT_FAILED)

    threading.Thread(target=watch, daemon=True).start()


def end(code: int) -> NoReturn:
    """End at once: after a failure on several GPUs NCCL's clean-up can wait for processes that are gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def job_lock(path: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path, wait_s=LOCK_WAIT_S, mode=0o600))
        except TimeoutError as error:
            raise JobError("another process still works on this job") from error
        yield


def run(folder: JobFolder, reporter: Reporter) -> None:
    """Carry the job from where it stands to its end. JobError when it cannot be done."""
    spec = folder.read_spec()
    if not folder.artifact.exists():
        rows = _rows(spec, folder, reporter)
        train(spec, folder, reporter, rows)
        folder.checkpoint.unlink(missing_ok=True)
        folder.best.unlink(missing_ok=True)
        folder.remove_downloads()
    reporter.log("uploading", f"to {spec.repo}@{spec.job_id} in the Data Store")
    stores.upload(spec.data_store_url, folder.artifact, spec.repo, spec.revision)


def _rows(spec: JobSpec, folder: JobFolder, reporter: Reporter) -> Rows:
    reporter.log("reading dataset", spec.dataset_url)
    template = Template.parse(spec.prompt_template)
    shutil.rmtree(folder.dataset, ignore_errors=True)
    try:
        location = stores.patiently(
            lambda: FilesUrl.parse(spec.dataset_url).download(spec.data_store_url, folder.dataset)
        )
    except FilesUrlError as error:
        raise JobError(f"dataset {spec.dataset_url}: {error}") from error
    rows = read_rows(location, template, seed=spec.seed, limit=spec.dataset_limit)
    shutil.rmtree(folder.dataset, ignore_errors=True)
    for warning in rows.warnings:
        reporter.warn(warning)
    return rows


def train(spec: JobSpec, folder: JobFolder, reporter: Reporter, rows: Rows) -> None:
    """Train on the rows, from the last checkpoint if there is one, and leave the result in the folder."""
    if stored_model.is_stored(spec.weights):
        reporter.log("reading base model", spec.weights)
        spec = spec.model_copy(update={"weights": str(stored_model.fetch(spec, folder))})
    devices.prepare_environment(spec)
    from embedded.customizer.model import TunedModel, load_tokenizer
    from embedded.customizer.tokens import encode
    from embedded.customizer.training import Run

    devices.claim(spec)
    tokenizer = load_tokenizer(spec)
    training = encode(rows.train, tokenizer, spec.max_seq_length)
    validation = encode(rows.validation, tokenizer, spec.max_seq_length)
    cut, dropped = training.truncated + validation.truncated, training.dropped + validation.dropped
    if cut or dropped:
        reporter.warn(
            f"{cut} rows were cut to {spec.max_seq_length} tokens and {dropped} rows dropped",
            "A row is dropped when its prompt alone fills max_seq_length. Shorten the rows or raise max_seq_length.",
        )
    if not training.examples or not validation.examples:
        raise JobError(f"no row has anything to learn within max_seq_length of {spec.max_seq_length} tokens")

    def fail(error: dict[str, Any]) -> NoReturn:
        reporter.failed(error)
        os._exit(EXIT_FAILED)

    try:
        with replicas.started(spec, folder, training.examples, validation.examples, fail=fail) as group:
            model = TunedModel(spec, reporter)
            run = Run(
                spec,
                folder,
                model,
                train=training.examples,
                validation=validation.examples,
                reporter=reporter,
                replicas=group,
            )
            resumed = run.resume()
            reporter.log(
                "training resumed" if resumed else "training",
                f"from step {run.step} of {run.schedule.total_steps}; {len(training.examples)} training and "
                f"{len(validation.examples)} validation rows" + (f"; on {group.count} GPUs" if group.count > 1 else ""),
            )
            best = run.train()
            reporter.finished(best)
            model.save(folder.artifact, tokenizer)
    except Exception as error:
        if shortage := devices.shortage(spec, error):
            raise shortage from error
        raise
