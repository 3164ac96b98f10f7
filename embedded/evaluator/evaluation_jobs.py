"""Jobs of the Evaluator: their documents, and the evaluation that each of them carries out.

A job that was running when the service went down goes on from its records (see `common.job_queue`). A failed job keeps
what it has: samples without scores. Keys are taken out of a job's document when it ends.
"""

import logging
import shutil
import threading
from pathlib import Path
from typing import Any

from embedded.common.documents import Document
from embedded.common.errors import Unprocessable
from embedded.common.job_queue import COMPLETED, ENDED, FAILED, Ending, JobQueue, JobRecords, Stopped
from embedded.common.names import new_id, now
from embedded.evaluator import results
from embedded.evaluator.custom import CustomTask, Outcome, Run
from embedded.evaluator.errors import EvaluationError
from embedded.evaluator.harness import BenchmarkTask
from embedded.evaluator.plan import Plan, TaskPlan, make_plan
from embedded.evaluator.records import Records, replace_lines
from embedded.evaluator.settings import Settings
from embedded.evaluator.store import Store, masked

_LOGGER = logging.getLogger("uvicorn.error")


class Evaluation:
    """One run over a plan, with or without a stored job behind it (`live` has none)."""

    def __init__(self, plan: Plan, settings: Settings, folder: Path, stop: threading.Event) -> None:
        self.plan, self.folder = plan, folder
        self._settings, self._stop = settings, stop
        self._log = Records(folder / "log.jsonl")
        self._finished = {task.name: 0 for task in plan.tasks}
        self._totals: dict[str, int] = {}
        self.task_status = {task.name: "pending" for task in plan.tasks}
        self.message = "running"

    def log(self, message: str) -> None:
        """Add a line to the job's log."""
        self._log.append({"timestamp": now(), "message": message})

    def details(self) -> dict[str, Any]:
        """`status_details`. Progress is the mean over tasks; 100 only when all is scored."""
        shares = [
            1.0
            if self.task_status[name] == "completed"
            else 0.99 * done / self._totals[name]
            if name in self._totals
            else 0.0
            for name, done in self._finished.items()
        ]
        return {
            "message": self.message,
            "task_status": dict(self.task_status),
            "progress": round(100 * sum(shares) / len(shares), 2),
            "samples_processed": sum(self._finished.values()),
        }

    def close(self) -> None:
        self._log.close()

    def run(self) -> dict[str, Any]:
        """`tasks` and `groups` of the result. Raises EvaluationError or Stopped."""
        outcomes: dict[str, Outcome] = {}
        try:
            for task in self.plan.tasks:
                if self._stop.is_set():
                    raise Stopped
                self.task_status[task.name] = "running"
                outcomes[task.name] = self._run_task(task)
                self.task_status[task.name] = "completed"
        finally:
            self._log.close()
        self.message = _summary(list(outcomes.values()))
        return results.body(outcomes, self.plan.groups)

    def _run_task(self, task: TaskPlan) -> Outcome:
        folder = self.folder / task.name
        folder.mkdir(parents=True, exist_ok=True)

        def progress(done: int, total: int) -> None:
            self._finished[task.name], self._totals[task.name] = done, total

        run = Run(self._settings, folder, self._stop, self.log, progress)
        runner = (BenchmarkTask if task.kind == "benchmark" else CustomTask)(task, self.plan.target, run)
        try:
            outcome = runner.execute()
        except EvaluationError as error:
            self.task_status[task.name] = "failed"
            self.log(f"task {task.name} failed: {error}")
            replace_lines(folder / "samples.jsonl", runner.partial_samples())
            raise
        except Stopped:
            replace_lines(folder / "samples.jsonl", runner.partial_samples())
            raise
        replace_lines(folder / "samples.jsonl", outcome.samples)
        return outcome


def _summary(outcomes: list[Outcome]) -> str:
    """Say that all is done, and what lowers the scores."""
    remarks = []
    if failed := [outcome for outcome in outcomes if outcome.failed_items]:
        count = sum(outcome.failed_items for outcome in failed)
        remarks.append(f"{count} items could not be answered; the first: {failed[0].first_error}")
    if cut := sum(outcome.cut_items for outcome in outcomes):
        remarks.append(f"{cut} outputs were cut by their limit of tokens: raise max_tokens")
    remarks += sorted({outcome.data["note"] for outcome in outcomes if outcome.data and "note" in outcome.data})
    remarks += [gap for outcome in outcomes for gap in outcome.gaps]
    return "completed" + (f", but {'; '.join(remarks)}" if remarks else "")


class _Records(JobRecords):
    """A job's status, and what its end leaves in its document."""

    def with_status(self, document: Document, ending: Ending) -> Document:
        if ending.status not in ENDED:
            return document | {"status": ending.status, "updated_at": now()}
        details: Document = {**(ending.values.get("status_details") or document["status_details"])}
        details["message"] = ending.message
        if ending.status == COMPLETED:
            details["progress"] = 100.0
        elif ending.status == FAILED:
            details["error_message"] = ending.message
        clean = {"config": masked(document["config"]), "target": masked(document["target"])}
        changes = {"status": ending.status, "status_details": details, "updated_at": now()}
        return document | clean | ending.values | changes


class Jobs:
    """All jobs: made, shown, cancelled, deleted, and carried out."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._running: dict[str, Evaluation] = {}
        self._queue = JobQueue(_Records(store.documents, "job"), self, at_once=settings.max_concurrent_jobs)

    def folder(self, job_id: str) -> Path:
        """Files of a job."""
        return self._settings.data_dir / "jobs" / job_id

    def start(self) -> None:
        """Start the threads, and again the jobs that a stop interrupted."""
        self._queue.start()

    def stop(self) -> None:
        """Interrupt the running jobs, which stay `running` for the next start."""
        self._queue.stop()

    def create(self, job: Document) -> Document:
        """Store a job (`config` and `target` expanded, known to be good) and queue it."""
        plan = make_plan(job["config"], job["target"], self._settings)
        job_id, result_id = new_id("eval"), new_id("evaluation_result")
        details = {
            "message": "created",
            "task_status": {task.name: "pending" for task in plan.tasks},
            "progress": 0.0,
            "samples_processed": 0,
        }
        new = {"id": job_id, "status": "created", "status_details": details, "result": None, "output_files_url": None}
        stored = self._store.add("job", job | new | {"result_id": result_id})
        result = {
            "id": result_id,
            "job": job_id,
            "namespace": job["namespace"],
            "project": job.get("project"),
            "custom_fields": job.get("custom_fields") or {},
            "tasks": {},
            "groups": {},
            "files_url": None,
            "description": None,
        }
        self._store.add("result", result)
        self._queue.submit(job_id)
        return stored

    def get(self, job_id: str) -> Document:
        """Give a job as it stands this moment."""
        job = self._store.get("job", job_id)
        running = self._running.get(job_id)
        return job | {"status_details": running.details()} if running and job["status"] not in ENDED else job

    def cancel(self, job_id: str) -> Document:
        """Ask a job to end; it is `cancelled` once its requests are given up. Conflict if it has ended."""
        self._queue.cancel(job_id)
        return self.get(job_id)

    def delete(self, job_id: str) -> None:
        """Remove an ended job, its result and its files. Conflict while it works."""
        job = self._queue.delete(job_id)
        self._store.documents.delete("result", job["result_id"])
        shutil.rmtree(self.folder(job_id), ignore_errors=True)

    # --- what the queue asks for ---

    def run(self, job_id: str, stop: threading.Event) -> Ending:
        """Evaluate; EvaluationErrors are failures with what was done until then."""
        job = self._store.get("job", job_id)
        try:
            plan = make_plan(job["config"], job["target"], self._settings)
        except Unprocessable as error:  # the settings have changed since the job was created
            return Ending(FAILED, error.detail)
        evaluation = self._running[job_id] = Evaluation(plan, self._settings, self.folder(job_id), stop)
        try:
            evaluation.log("running")
            for warning in evaluation.plan.warnings:
                evaluation.log(f"warning: {warning}")
            result = evaluation.run()
            url = self._publish(evaluation, job, result)
            self._store.update("result", job["result_id"], **result, files_url=url)
            values = {"result": job["result_id"], "output_files_url": url, "status_details": evaluation.details()}
            return Ending(COMPLETED, evaluation.message, values)
        except Stopped:
            self._store.update("job", job_id, status_details=evaluation.details())
            raise
        except EvaluationError as error:
            return Ending(FAILED, str(error), {"status_details": evaluation.details()})
        finally:
            evaluation.close()
            del self._running[job_id]

    def resume(self, job_id: str) -> None:
        """Nothing to note: tasks say how far they had come."""

    def finish(self, job_id: str, ending: Ending) -> None:
        """Write the end to the job's log, and leave no key behind."""
        log = Records(self.folder(job_id) / "log.jsonl")
        same = ending.message == ending.status
        log.append({"timestamp": now(), "message": ending.status if same else f"{ending.status}: {ending.message}"})
        log.close()
        self._store.documents.scrub()

    def describe(self, error: Exception) -> Ending:
        """Tell a defect of this service as such."""
        _LOGGER.error("a job failed", exc_info=error)
        return Ending(FAILED, f"internal error, see the service's log: {type(error).__name__}: {error}")

    def _publish(self, evaluation: Evaluation, job: Document, result: Document) -> str | None:
        """Copy the results to the Data Store; a failure is told in the log and fails nothing."""
        if not self._settings.publish_results:
            return None
        try:
            document = masked(self._store.get("result", job["result_id"]) | result)
            return results.publish(evaluation.folder, document, job["id"], self._settings.data_store_url)
        except Exception as error:  # noqa: BLE001 - the hub client raises many kinds
            evaluation.log(f"results were not copied to the Data Store at {self._settings.data_store_url}: {error}")
            return None
