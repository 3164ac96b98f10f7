"""A job whose process went with the platform's last one fails with the reason, and no other job is touched."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from embedded.platform.interrupted_jobs import REASON, end_interrupted


class Jobs:
    """The platform's SDK for jobs, as much as is asked of it."""

    def __init__(self, tasks: dict[str, dict[str, Any]]) -> None:
        self.given, self.updates = tasks, dict[str, dict[str, Any]]()
        self.jobs = self.tasks = self

    async def list(self, *, workspace: str, filter: dict[str, str]) -> AsyncIterator[Any]:  # noqa: A002
        assert (workspace, filter) == ("-", {"status": "active"})
        for name in self.given:
            yield SimpleNamespace(name=name, workspace="default")

    async def get_status(self, *, name: str, workspace: str) -> Any:
        assert workspace == "default"
        task = SimpleNamespace(name="task", **self.given[name])
        return SimpleNamespace(steps=[SimpleNamespace(name="training", tasks=[task])])

    async def create_or_update(self, *, job: str, **update: Any) -> None:
        self.updates[job] = update


def test_only_jobs_whose_process_is_gone_are_ended() -> None:
    gone = subprocess.Popen(["true"], start_new_session=True)
    gone.wait()
    here = {"pid": os.getpid(), "pgid": os.getpgid(0)}
    reused = {"pid": os.getpid(), "pgid": gone.pid}
    jobs = Jobs(
        {
            "gone": {"status": "active", "status_details": {"pid": gone.pid, "pgid": gone.pid, "step": 25}},
            "reused": {"status": "active", "status_details": reused},
            "here": {"status": "active", "status_details": here},
            "done": {"status": "completed", "status_details": {"pid": gone.pid, "pgid": gone.pid}},
            "elsewhere": {"status": "active", "status_details": {}},
        }
    )
    assert asyncio.run(end_interrupted(jobs)) == 2
    assert set(jobs.updates) == {"gone", "reused"}
    update = jobs.updates["gone"]
    assert (update["status"], update["error_details"]) == ("error", {"message": REASON})
    assert update["status_details"]["step"] == 25
