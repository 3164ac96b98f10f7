"""Jobs as the service remembers and shows them.

`pending` never occurs: a job that waits for its turn stays `created`, which older clients keep waiting on.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

from embedded.common.documents import Document, Documents
from embedded.common.job_queue import ENDED, FAILED, RUNNING, Ending, JobRecords
from embedded.common.names import now
from embedded.customizer.progress import Summary, summarize
from embedded.customizer.spec import JobFolder

LOG_TAIL_BYTES = 200_000


class Jobs(JobRecords):
    """All jobs, and their folders below `root`."""

    def __init__(self, documents: Documents, root: Path) -> None:
        super().__init__(documents, "customization job")
        self._root = root

    def folder(self, job_id: str) -> JobFolder:
        """Where the job's files are."""
        return JobFolder(self._root / job_id)

    def add(self, api: Document, model: Document, files_url: str) -> None:
        """Remember a new job: what the API shows of it, the entity of its output, where its rows are."""
        entry = {"updated_at": now(), "message": "created", "detail": None}
        document = {
            "api": {**api, "status": "created"},
            "model": model,
            "files_url": files_url,
            "logs": [entry],
            "error": None,
            "started_at": None,
            "ended_at": None,
        }
        self._documents.insert(self.kind, api["id"], document)

    def id_of(self, document: Document) -> str:
        """Read the id of the job."""
        return str(document["api"]["id"])

    def status_of(self, document: Document) -> str:
        """Read the status that the API shows."""
        return str(document["api"]["status"])

    def with_status(self, document: Document, ending: Ending) -> Document:
        """Set the status and write it to the job's log; a job that goes on running stays as it is."""
        at = now()
        if ending.status == self.status_of(document) == RUNNING:
            return document
        failed = ending.status == FAILED
        changes: Document = {
            "api": {**document["api"], "status": ending.status, "updated_at": at},
            "logs": [
                *document["logs"],
                {"updated_at": at, "message": ending.status, "detail": ending.message if failed else None},
            ],
            "error": None,
        }
        if failed:
            unreported = {"message": ending.message, "exception_type": "ServiceDied", "timestamp": at}
            changes["error"] = ending.values.get("error", unreported)
        if ending.status == RUNNING:
            changes["started_at"] = document["started_at"] or at
        if ending.status in ENDED:
            changes["ended_at"] = at
        return {**document, **changes}

    def note(self, job_id: str, message: str, detail: str | None = None) -> None:
        """Add a line to the job's log without a change of status."""
        entry = {"updated_at": now(), "message": message, "detail": detail}
        self._documents.change(self.kind, job_id, lambda document: {**document, "logs": [*document["logs"], entry]})

    def show(self, document: Document) -> Document:
        """Make the CustomizationJob of the API."""
        api = document["api"]
        summary = summarize(self.folder(api["id"]).progress)
        return {
            **api,
            "updated_at": max(api["updated_at"], summary.updated_at or ""),
            "status_details": _details(document, summary),
            "warnings": [*(api["warnings"] or []), *summary.warnings] or None,
        }

    def index(self) -> list[Document]:
        """All jobs, with the fields that `list` filters by at the top; cheap, without progress."""
        rows = []
        for document in self._documents.all(self.kind):
            api = document["api"]
            chosen = {
                key: api["hyperparameters"][key]
                for key in ("batch_size", "epochs", "finetuning_type", "log_every_n_steps", "training_type")
            }
            base = api["config_snapshot"]["base_model"]
            rows.append({**api, **chosen, "base_model": base, "dataset": document["files_url"]})
        return rows

    def container_logs(self, job_id: str) -> Document:
        """Make the JobLogs of the API: the worker's output (its end, when long) and the error, if there is one."""
        document, folder = self.find(job_id), self.folder(job_id)
        text = folder.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace") if folder.log.exists() else ""
        events = [
            {
                "type": "Warning" if entry["message"] == "failed" else "Normal",
                "reason": entry["message"],
                "message": entry["detail"] or entry["message"],
                "count": "1",
                "first_seen": _seconds(entry["updated_at"]),
                "last_seen": _seconds(entry["updated_at"]),
            }
            for entry in document["logs"]
        ]
        worker = {"object": "process", "status": {"phase": document["api"]["status"]}, "logs": {"worker": text}}
        return {"entries": {f"{job_id}/worker": {**worker, "events": events}}, "error": document["error"]}


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text + "+00:00").timestamp())


def _elapsed(document: Document) -> float:
    if document["started_at"] is None:
        return 0.0
    begun = datetime.fromisoformat(document["started_at"])
    return (datetime.fromisoformat(document["ended_at"] or now()) - begun).total_seconds()


def _details(document: Document, summary: Summary) -> Document:
    api = document["api"]
    train, val = summary.best()
    epochs, per_epoch = api["hyperparameters"]["epochs"], summary.steps_per_epoch
    logs: list[dict[str, Any]] = sorted([*document["logs"], *summary.logs], key=lambda entry: entry["updated_at"])
    return {
        "created_at": document["started_at"] or api["created_at"],
        "updated_at": max(api["updated_at"], summary.updated_at or ""),
        "status": api["status"],
        "elapsed_time": round(_elapsed(document), 3),
        "steps_completed": summary.steps_completed,
        "steps_per_epoch": per_epoch,
        "epochs_completed": summary.epochs_completed,
        "percentage_done": round(100 * summary.epochs_completed / epochs, 2),
        "best_epoch": (val["step"] + 1) // per_epoch if val and per_epoch else None,
        "train_loss": train["value"] if train else None,
        "val_loss": val["value"] if val else None,
        "metrics": {
            "keys": ["train_loss", "val_loss"],
            "metrics": {"train_loss": summary.train_loss, "val_loss": summary.val_loss},
        },
        "status_logs": logs,
        "error_message": document["error"]["message"] if document["error"] else None,
    }
