"""Runs jobs in threads: created -> running -> completed | failed, or by cancelling -> cancelled.

A job that was running when the service went down goes on at the next start, from its records. A failed job keeps what
it has: samples without scores. Keys are taken out of a job's document when it ends.
"""

import logging
import queue
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from embedded.common.errors import Conflict
from embedded.common.names import new_id, now
from embedded.evaluator import results
from embedded.evaluator.custom import CustomTask, Outcome, Run
from embedded.evaluator.errors import EvaluationError, Stopped
from embedded.evaluator.harness import BenchmarkTask
from embedded.evaluator.plan import Plan, TaskPlan, make_plan
from embedded.evaluator.records import Records, replace_lines
from embedded.evaluator.settings import Settings
from embedded.evaluator.store import Store, masked

ENDED = {"completed", "failed", "cancelled"}
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
    return "completed" + (f", but {'; '.join(remarks)}" if remarks else "")


class Engine:
    """The queue of jobs and the threads that work on it."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._running: dict[str, tuple[Evaluation, threading.Event]] = {}
        self._lock = threading.Lock()
        self._closing = False

    def folder(self, job_id: str) -> Path:
        """Files of a job."""
        return self._settings.data_dir / "jobs" / job_id

    def start(self) -> None:
        """Start the threads, and again the jobs that a stop interrupted."""
        for job in sorted(self._store.all("job"), key=lambda job: job["created_at"]):
            if job["status"] == "cancelling":
                self._end(job["id"], "cancelled", "cancelled")
            elif job["status"] not in ENDED:
                self._queue.put(job["id"])
        for number in range(self._settings.max_concurrent_jobs):
            # Daemons: a long metric must not hold up the service's end; what it computes is computed again.
            thread = threading.Thread(target=self._work, name=f"evaluation-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Interrupt the running jobs, which stay `running` for the next start; at most 3 s."""
        with self._lock:
            self._closing = True
            for _, stop in self._running.values():
                stop.set()
        for _ in self._threads:
            self._queue.put(None)
        deadline = time.monotonic() + 3
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def create(self, job: dict[str, Any]) -> dict[str, Any]:
        """Store a job (`config` and `target` expanded, known to be good) and queue it."""
        plan = make_plan(job["config"], job["target"])
        job_id = new_id("eval")
        details = {
            "message": "created",
            "task_status": {task.name: "pending" for task in plan.tasks},
            "progress": 0.0,
            "samples_processed": 0,
        }
        common = {
            "namespace": job["namespace"],
            "project": job.get("project"),
            "custom_fields": job.get("custom_fields") or {},
        }
        result = common | {
            "id": new_id("evaluation_result"),
            "job": job_id,
            "tasks": {},
            "groups": {},
            "files_url": None,
            "description": None,
        }
        self._store.add("result", result)
        stored = self._store.add(
            "job",
            job
            | {
                "id": job_id,
                "status": "created",
                "status_details": details,
                "result": None,
                "output_files_url": None,
                "result_id": result["id"],
            },
        )
        self._queue.put(job_id)
        return stored

    def get(self, job_id: str) -> dict[str, Any]:
        """Give a job as it stands this moment."""
        job = self._store.get("job", job_id)
        running = self._running.get(job_id)
        return job | {"status_details": running[0].details()} if running and job["status"] not in ENDED else job

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Ask a job to end; it is `cancelled` once its requests are given up. Conflict if it has ended."""
        with self._lock:
            job = self._store.get("job", job_id)
            if job["status"] in ENDED:
                raise Conflict(f"job {job_id} is {job['status']} already: there is nothing to cancel")
            if (running := self._running.get(job_id)) is None:
                self._end(job_id, "cancelled", "cancelled before it started")
            else:
                self._store.update("job", job_id, status="cancelling")
                running[1].set()
        return self.get(job_id)

    def delete(self, job_id: str) -> None:
        """Remove an ended job, its result and its files. Conflict while it works."""
        with self._lock:
            job = self._store.get("job", job_id)
            if job["status"] not in ENDED:
                raise Conflict(f"job {job_id} is {job['status']}: cancel it first")
            self._store.delete("job", job_id)
            for result in self._store.all("result"):
                if result["id"] == job["result_id"]:
                    self._store.delete("result", result["id"])
            shutil.rmtree(self.folder(job_id), ignore_errors=True)

    def _work(self) -> None:
        while (job_id := self._queue.get()) is not None:
            try:
                self._run(job_id)
            except Exception:
                _LOGGER.exception("job %s", job_id)

    def _run(self, job_id: str) -> None:
        with self._lock:
            job = next((job for job in self._store.all("job") if job["id"] == job_id), None)
            if self._closing or job is None or job["status"] in ENDED:
                return
            stop = threading.Event()
            evaluation = Evaluation(make_plan(job["config"], job["target"]), self._settings, self.folder(job_id), stop)
            self._running[job_id] = evaluation, stop
            self._store.update("job", job_id, status="running")
        try:
            evaluation.log("running")
            for warning in evaluation.plan.warnings:
                evaluation.log(f"warning: {warning}")
            result = evaluation.run()
            url = self._publish(evaluation, job, result)
            self._store.update("result", job["result_id"], **result, files_url=url)
            self._end(job_id, "completed", evaluation.message, result=job["result_id"], output_files_url=url)
        except Stopped:
            if not self._closing:
                self._end(job_id, "cancelled", "cancelled")
        except EvaluationError as error:
            self._end(job_id, "failed", str(error))
        except Exception as error:
            _LOGGER.exception("job %s", job_id)
            self._end(job_id, "failed", f"internal error, see the service's log: {type(error).__name__}: {error}")
        finally:
            with self._lock:
                del self._running[job_id]

    def _publish(self, evaluation: Evaluation, job: dict[str, Any], result: dict[str, Any]) -> str | None:
        """Copy the results to the Data Store; a failure is told in the log and fails nothing."""
        if not self._settings.publish_results:
            return None
        try:
            document = masked(self._store.get("result", job["result_id"]) | result)
            return results.publish(evaluation.folder, document, job["id"], self._settings.data_store_url)
        except Exception as error:  # noqa: BLE001 - the hub client raises many kinds
            evaluation.log(f"results were not copied to the Data Store at {self._settings.data_store_url}: {error}")
            return None

    def _end(self, job_id: str, status: str, message: str, **changes: Any) -> None:
        running = self._running.get(job_id)
        job = self._store.get("job", job_id)
        details = (running[0].details() if running else job["status_details"]) | {"message": message}
        if status == "completed":
            details["progress"] = 100.0
        elif status == "failed":
            details["error_message"] = message
        log = Records(self.folder(job_id) / "log.jsonl")
        log.append({"timestamp": now(), "message": f"{status}: {message}" if message != status else status})
        log.close()
        clean = {"config": masked(job["config"]), "target": masked(job["target"])}
        self._store.update("job", job_id, status=status, status_details=details, **clean, **changes)
