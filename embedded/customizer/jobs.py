"""Jobs as the service remembers and shows them: documents with a status, and the moves between statuses.

    created -> running -> completed | failed
       |          '-> cancelling -> cancelled | completed | failed (what came first)
       '-> cancelled

`pending` never occurs: a job that waits for its turn stays `created`, which older clients keep waiting on.
"""

from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any

from embedded.common.errors import NotFound
from embedded.common.names import now
from embedded.customizer.progress import Summary, summarize
from embedded.customizer.spec import JobFolder
from embedded.customizer.state import Document, State

KIND = "job"
TERMINAL = ("completed", "failed", "cancelled")
LOG_TAIL_BYTES = 200_000


class Jobs:
    """All jobs, and their folders below `root`."""

    def __init__(self, state: State, root: Path) -> None:
        self._state, self._root = state, root

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
        self._state.insert(KIND, api["id"], document)

    def document(self, job_id: str) -> Document:
        """NotFound when there is no such job."""
        document = self._state.get(KIND, job_id)
        if document is None:
            raise NotFound(f"customization job {job_id!r} does not exist")
        return document

    def status(self, job_id: str) -> str:
        """Get the job's status."""
        return str(self.document(job_id)["api"]["status"])

    def unfinished(self) -> list[str]:
        """Ids of jobs that are not at their end, those that had begun first."""
        rank = {"cancelling": 0, "running": 1, "created": 2}
        left = [d["api"] for d in self._state.all(KIND) if d["api"]["status"] not in TERMINAL]
        return [api["id"] for api in sorted(left, key=lambda api: rank[api["status"]])]

    def move(
        self, job_id: str, to: str, *, when: Collection[str], detail: str | None = None, error: Document | None = None
    ) -> bool:
        """Change the status if it is one of `when`; whether it was."""
        moved = False

        def edit(document: Document) -> Document:
            nonlocal moved
            moved = document["api"]["status"] in when
            if not moved:
                return document
            at = now()
            changes: Document = {
                "api": {**document["api"], "status": to, "updated_at": at},
                "logs": [*document["logs"], {"updated_at": at, "message": to, "detail": detail}],
                "error": error,
            }
            if to == "running" and document["started_at"] is None:
                changes["started_at"] = at
            if to in TERMINAL:
                changes["ended_at"] = at
            return {**document, **changes}

        self._state.change(KIND, job_id, edit)
        return moved

    def note(self, job_id: str, message: str, detail: str | None = None) -> None:
        """Add a line to the job's log without a change of status."""
        entry = {"updated_at": now(), "message": message, "detail": detail}
        self._state.change(KIND, job_id, lambda document: {**document, "logs": [*document["logs"], entry]})

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
        for document in self._state.all(KIND):
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
        document, folder = self.document(job_id), self.folder(job_id)
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
