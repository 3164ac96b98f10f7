"""What a step knows of its job: the terms, a folder that all steps share, and the platform that it reports to.

The job service describes a step to its process by environment variables and a JSON file.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from nemo_platform import APIError, NeMoPlatform
from nemo_platform_plugin.client.errors import NemoClientError
from nemo_platform_plugin.jobs import constants
from nmp.common.sdk_factory import get_task_sdk

from embedded.customizer.spec import JobError, JobFolder
from embedded.training_hub.fields import Terms
from embedded.training_hub.settings import TrainingSettings

SERVICE = "customization"
PLATFORM_ERRORS = (APIError, NemoClientError, OSError)  # the files of a filesystem come with errors of their own


@dataclass(frozen=True)
class Task:
    """Where a step's reports go."""

    workspace: str
    job: str
    step: str
    name: str


class Job:
    """The job of this process."""

    def __init__(self, config: Mapping[str, Any], folder: Path, task: Task, platform: NeMoPlatform) -> None:
        self.terms = Terms.model_validate(config["terms"])
        self.settings = TrainingSettings.model_validate(config["settings"])
        self.workspace: str = config["workspace"]
        self.base: dict[str, str] = config["base"]
        self.files = JobFolder(folder)
        self.task, self.platform = task, platform

    @classmethod
    def from_environment(cls) -> "Job":
        """Read what the job service says."""
        given = os.environ
        config = json.loads(Path(given[constants.NEMO_JOB_STEP_CONFIG_FILE_PATH_ENVVAR]).read_text(encoding="utf-8"))
        task = Task(
            workspace=given[constants.NEMO_JOB_WORKSPACE_ENVVAR],
            job=given[constants.NEMO_JOB_ID_ENVVAR],
            step=given[constants.NEMO_JOB_STEP_ENVVAR],
            name=given[constants.NEMO_JOB_TASK_ENVVAR],
        )
        return cls(config, Path(given[constants.PERSISTENT_JOB_STORAGE_PATH_ENVVAR]), task, get_task_sdk(SERVICE))

    @property
    def model(self) -> str:
        """Name of the base model with its workspace."""
        return f"{self.base['workspace']}/{self.base['name']}"

    def report(self, phase: str, **details: Any) -> None:
        """Show where the step stands. A report that does not arrive is no reason to end the job."""
        try:
            self._update("active", {"phase": phase, **details})
        except APIError as error:
            print(f"warning: progress was not reported: {error}", file=sys.stderr, flush=True)

    def fail(self, message: str, explanation: str | None, kind: str) -> None:
        """Say why the step fails, in its status and as the last line of its log."""
        error = {"message": message, "explanation": explanation, "type": kind}
        try:
            self._update("error", {"phase": "failed", "error": error}, error)
        except APIError as unreported:
            print(f"warning: the failure was not reported: {unreported}", file=sys.stderr)
        print(f"{message}{f' {explanation}' if explanation else ''}", file=sys.stderr, flush=True)

    def _update(self, status: Any, details: dict[str, Any], error: dict[str, Any] | None = None) -> None:
        self.platform.jobs.tasks.create_or_update(
            name=self.task.name,
            workspace=self.task.workspace,
            job=self.task.job,
            step=self.task.step,
            status=status,
            status_details=details,
            error_details=error or {},
        )

    def is_cancelled(self) -> bool:
        """Whether somebody cancelled the job; a job that is only paused goes on some day."""
        status = self.platform.jobs.get_status(name=self.task.job, workspace=self.task.workspace).status
        return status in {"cancelling", "cancelled"}

    def discard(self) -> None:
        """Delete all files of the job on this machine."""
        shutil.rmtree(self.files.root, ignore_errors=True)


def below(folder: Path, name: str) -> Path:
    """Return the path of a file that the platform names. JobError for one that would lie elsewhere."""
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        raise JobError(f"the fileset has a file named {name!r}, which leads out of its folder")
    return folder / parts
