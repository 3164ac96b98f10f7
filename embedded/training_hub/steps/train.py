"""Second step: training, in a process of the interpreter that has PyTorch; what it reports becomes the task's status.

A job that is cancelled leaves no files; one that is paused goes on from its last checkpoint.
"""

import json
import signal
import subprocess
import time
from pathlib import Path
from types import FrameType
from typing import Any

from embedded.common.processor import fastest_precision
from embedded.customizer.progress import Summary, summarize
from embedded.customizer.spec import JobError, JobSpec
from embedded.training_hub.steps.job import Job
from nemostack import clone

POLL_S = 0.2
REPORT_EVERY_S = 1.0
REPORTS_REST = 10
"""Between two reports lies at least so many times the time that one takes: the platform is busy with each of them."""
EXIT_DISK_FULL = 28


def run(job: Job) -> None:
    """Train until there is an artifact. JobError with the trainer's reason when there will be none."""
    job.files.root.mkdir(parents=True, exist_ok=True)
    job.files.spec.write_text(trainer_spec(job).model_dump_json(indent=2), encoding="utf-8")
    job.report("preparing", backend=job.terms.backend, warnings=job.terms.warnings)
    signal.signal(signal.SIGTERM, _interrupt)
    with subprocess.Popen(_command(job), cwd=clone.ROOT, stdin=subprocess.PIPE, env=_environment(job)) as trainer:
        try:
            code = _follow(job, trainer)
        except KeyboardInterrupt:
            trainer.kill()
            trainer.wait()
            if job.is_cancelled():
                job.discard()
            raise JobError("interrupted") from None
    if code:
        reason = summarize(job.files.progress).error or {"message": _unsaid(code), "explanation": None}
        job.files.remove_downloads()
        raise JobError(str(reason["message"]), reason["explanation"])
    job.files.remove_downloads()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def trainer_spec(job: Job) -> JobSpec:
    """Make the trainer's own terms of the job's."""
    terms, settings = job.terms, job.settings
    return JobSpec(
        job_id=job.task.job,
        base_model=job.model,
        weights=str(job.files.base),
        dataset_url=f"fileset {terms.training}",
        dataset_limit=None,
        data_store_url="",
        output_repo=(job.workspace, terms.output.name),
        hyperparameters=terms.hyperparameters,
        max_seq_length=terms.max_seq_length,
        precision=terms.precision or fastest_precision(settings.accelerator),
        prompt_template=terms.prompt_template,
        chat_prompt_template=None,
        threads=settings.threads,
        seed=terms.seed,
        device=settings.accelerator,
        gpus=settings.gpus,
        gpu_memory_fraction=settings.gpu_memory_fraction,
        recipe=terms.recipe,
        hold_out=terms.hold_out,
        processes=max(1, len(settings.gpus)),
    )


def _command(job: Job) -> list[str]:
    command = [str(job.settings.python), "-m", "embedded.customizer.folder_worker", str(job.files.root)]
    column = job.terms.whole_text
    return [*command, "--whole-text", column] if column and _has_column(job.files.dataset, column) else command


def _has_column(dataset: Path, column: str) -> bool:
    """Whether the first row has the column: rows with a prompt and a completion are taken as such."""
    for file in sorted(dataset.glob("training/*.jsonl")):
        with file.open("rb") as lines:
            for line in lines:
                if line.strip():
                    try:
                        return column in json.loads(line)
                    except (ValueError, TypeError):
                        return False  # the trainer says what is wrong with it
    return False


def _environment(job: Job) -> dict[str, str]:
    folder = job.settings.python.parent
    return {"PATH": f"{folder}:/usr/local/bin:/usr/bin:/bin", "GOMP_SPINCOUNT": "1000", "HOME": str(job.files.root)}


def _follow(job: Job, trainer: "subprocess.Popen[bytes]") -> int:
    reported: dict[str, Any] = {}
    next_report = 0.0
    while True:
        code = trainer.poll()
        summary = summarize(job.files.progress)
        details = progress_of(job, summary)
        began = time.monotonic()
        if details != reported and (code is not None or began >= next_report):
            job.report(**details)
            now = time.monotonic()
            reported, next_report = details, now + max(REPORT_EVERY_S, REPORTS_REST * (now - began))
        if code is not None:
            return code
        time.sleep(POLL_S)


def progress_of(job: Job, summary: Summary) -> dict[str, Any]:
    """Status of the task, under the names that NVIDIA's backends use."""
    phase = "preparing"
    if summary.total_steps is not None:
        phase = "training" if summary.best_step is None else "processing_checkpoint"
    warnings = [*job.terms.warnings, *(warning["message"] for warning in summary.warnings)]
    details: dict[str, Any] = {"phase": phase, "backend": job.terms.backend, "warnings": warnings}
    if summary.total_steps is None or summary.steps_per_epoch is None:
        return details
    steps, epochs = summary.steps_completed, job.terms.hyperparameters.epochs
    details |= {
        "max_steps": summary.total_steps,
        "num_epochs": epochs,
        "step": steps,
        "epoch": min(epochs, max(0, steps - 1) // summary.steps_per_epoch + 1),
        "percentage_done": round(100 * steps / summary.total_steps),
    }
    if summary.train_loss:
        details |= {"train_loss": summary.train_loss[-1]["value"], "lr": summary.learning_rate}
        details["grad_norm"] = summary.gradient_norm
    if summary.val_loss:
        details["val_loss"] = summary.val_loss[-1]["value"]
    details["metrics"] = {
        name: [{"step": point["step"] + 1, "value": point["value"]} for point in points]
        for name, points in (("train_loss", summary.train_loss), ("val_loss", summary.val_loss))
    }
    return details


def _unsaid(code: int) -> str:
    if code == EXIT_DISK_FULL:
        return "no space left on disk for the job's files: free some, then submit the job again"
    if code < 0:
        name = signal.Signals(-code).name
        more = " (SIGKILL often means that memory ran out)" if name == "SIGKILL" else ""
        return f"the training process was ended by {name}{more}"
    return f"the training process exited with code {code} and said nothing; see the job's logs"
