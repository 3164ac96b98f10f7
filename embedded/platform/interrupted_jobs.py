"""Ends the jobs whose processes have gone with an earlier process of the platform.

Version 0.3.0 keeps its knowledge of processes in memory and believes what a task has said last, so that a job whose
platform was killed or restarted stays `active` for ever, and whoever waits for it does too. Here its task is set to
`error` with the reason. Refuses to judge tasks that name no process, or one that lives.
"""

import logging
import os
from typing import Any

logger = logging.getLogger(__name__)
REASON = "the platform was stopped while this step ran, and its process ended with it: submit the job again"
_GOING = {"active", "pending"}


async def end_interrupted(sdk: Any) -> int:
    """Set the tasks of such jobs to `error`; how many there were."""
    ended = 0
    jobs = [job async for job in sdk.jobs.list(workspace="-", filter={"status": "active"})]
    for job in jobs:
        status = await sdk.jobs.get_status(name=job.name, workspace=job.workspace)
        for step in status.steps or []:
            for task in step.tasks or []:
                details = dict(task.status_details or {})
                if str(task.status) not in _GOING or "pid" not in details or lives(details):
                    continue
                await sdk.jobs.tasks.create_or_update(
                    name=task.name,
                    workspace=job.workspace,
                    job=job.name,
                    step=step.name,
                    status="error",
                    status_details=details | {"phase": "failed", "error": {"message": REASON}},
                    error_details={"message": REASON},
                )
                logger.warning("job %s/%s: %s", job.workspace, job.name, REASON)
                ended += 1
    return ended


def lives(details: dict[str, Any]) -> bool:
    """Whether the process that a task names is there, and still leads the group that it was started in."""
    try:
        return os.getpgid(int(details["pid"])) == int(details.get("pgid", details["pid"]))
    except (ProcessLookupError, ValueError, TypeError):
        return False
