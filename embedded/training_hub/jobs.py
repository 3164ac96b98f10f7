"""The jobs of both backends as the platform knows them: requests are checked against its entities, then compiled.

A job is compiled into the four steps that NVIDIA documents, each a process on this machine. Refuses a model without
files, filesets that do not exist, and a machine without the interpreter that trains.
"""

import os
import sys
import uuid
from typing import Any, ClassVar, Literal

from nemo_platform import NotFoundError, PermissionDeniedError
from nemo_platform_plugin.job import NemoJob
from nemo_platform_plugin.jobs.api_factory import PlatformJobSpec, PlatformJobStep, SubprocessExecutionProviderSpec
from nemo_platform_plugin.jobs.exceptions import PlatformJobCompilationError
from pydantic import BaseModel

from embedded.training_hub.automodel import AutomodelJob, AutomodelJobWithOutput
from embedded.training_hub.fields import Terms
from embedded.training_hub.settings import TrainingSettings
from embedded.training_hub.unsloth import UnslothJob, UnslothJobWithOutput

STEPS = ("model-and-dataset-download", "training", "model-upload", "model-entity-creation")


def split(reference: str, workspace: str) -> tuple[str, str]:
    """(workspace, name) of `name` or `workspace/name`."""
    where, _, name = reference.rpartition("/")
    return where or workspace, name


async def _model(platform: Any, reference: str, workspace: str) -> Any:
    where, name = split(reference, workspace)
    try:
        model = await platform.models.retrieve(name=name, workspace=where)
    except PermissionDeniedError as error:
        raise PermissionError(f"no access to the model {where}/{name}") from error
    except NotFoundError as error:
        raise ValueError(
            f"model {where}/{name} does not exist: create it with its fileset, then submit again"
        ) from error
    if not model.fileset:
        raise ValueError(f"model {where}/{name} has no fileset: give it one with its weights, then submit again")
    return model


async def _check_fileset(platform: Any, reference: str, workspace: str) -> None:
    where, name = split(reference, workspace)
    try:
        await platform.files.filesets.retrieve(name=name, workspace=where)
    except PermissionDeniedError as error:
        raise PermissionError(f"no access to the fileset {where}/{name}") from error
    except NotFoundError as error:
        raise ValueError(f"fileset {where}/{name} does not exist: upload the rows to it, then submit again") from error


def _output(request: AutomodelJob | UnslothJob) -> dict[str, Any]:
    asked = request.output
    name = (asked.name if asked else None) or f"customization-{uuid.uuid4().hex[:12]}"
    return {
        "name": name,
        "type": "adapter" if request.makes_adapter else "model",
        "fileset": f"{name[:40]}-{uuid.uuid4().hex[:12]}",
        "description": asked.description if asked else None,
    }


def _process(step: str, config: dict[str, Any], python: str) -> PlatformJobStep:
    command = [python, "-m", "embedded.training_hub.steps", step]
    return PlatformJobStep(
        name=step,
        executor=SubprocessExecutionProviderSpec(provider="subprocess", profile="default", command=command),
        config=config,
        environment=[],
    )


def compiled(terms: Terms, model: Any, workspace: str, settings: TrainingSettings) -> PlatformJobSpec:
    """Make the four steps."""
    if not os.access(settings.python, os.X_OK):
        raise PlatformJobCompilationError(
            f"{settings.python} cannot be run, and training needs its PyTorch: run `make embedded-env`, or set "
            "NEMOSTACK_TRAINING_PYTHON"
        )
    config = {
        "terms": terms.with_served_rank(settings.max_served_rank).model_dump(mode="json"),
        "workspace": workspace,
        "base": {"workspace": model.workspace, "name": model.name, "fileset": model.fileset},
        "settings": settings.model_dump(mode="json"),
    }
    return PlatformJobSpec(steps=[_process(step, config, sys.executable) for step in STEPS])


class _TrainingJob(NemoJob):  # type: ignore[misc, unused-ignore]
    """What both backends' jobs do."""

    name: ClassVar[str] = "jobs"
    backend: ClassVar[Literal["automodel", "unsloth"]]

    def run(self, *_args: Any, **_kwargs: Any) -> dict[str, Any]:
        """Refuse: a job is submitted to a platform."""
        raise NotImplementedError(f"submit it to a platform: nemo customization {self.backend} submit JOB.json")

    @classmethod
    async def to_spec(
        cls,
        input_spec: BaseModel,
        *,
        workspace: str,
        entity_client: object,
        async_sdk: Any,
        is_local: bool,
    ) -> BaseModel:
        """Check what the request names, and name its output. ValueError says what is not there."""
        del entity_client, is_local
        request: Any = input_spec
        model, filesets = request.asks_for
        await _model(async_sdk, model, workspace)
        for fileset in filesets:
            await _check_fileset(async_sdk, fileset, workspace)
        return cls.resolve(request)

    @classmethod
    def resolve(cls, request: Any) -> BaseModel:
        """Return the request with its output."""
        raise NotImplementedError

    @classmethod
    async def compile(
        cls,
        *,
        workspace: str,
        spec: BaseModel,
        entity_client: object,
        job_name: str | None,
        async_sdk: Any,
        profile: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> PlatformJobSpec:
        """Make the steps of the job."""
        del entity_client, job_name, profile, options
        request: Any = spec
        terms = request.terms()
        model = await _model(async_sdk, terms.model, workspace)
        return compiled(terms, model, workspace, TrainingSettings.read())


class AutomodelTrainingJob(_TrainingJob):
    """A job of the backend `automodel`."""

    backend = "automodel"
    name: ClassVar[str] = "automodel.jobs"
    description: ClassVar[str] = "Supervised fine-tuning: LoRA, merged LoRA or all weights."
    job_collection_path: ClassVar[str | None] = "/automodel/jobs"
    input_spec_schema: ClassVar[type[BaseModel] | None] = AutomodelJob
    spec_schema: ClassVar[type[BaseModel] | None] = AutomodelJobWithOutput

    @classmethod
    def resolve(cls, request: AutomodelJob) -> BaseModel:
        """Return the request with its output."""
        given = request.model_dump(mode="json", exclude={"output"})
        return AutomodelJobWithOutput.model_validate(given | {"output": _output(request)})


class UnslothTrainingJob(_TrainingJob):
    """A job of the backend `unsloth`."""

    backend = "unsloth"
    name: ClassVar[str] = "unsloth.jobs"
    description: ClassVar[str] = "Supervised fine-tuning on one device: LoRA, merged LoRA or all weights."
    job_collection_path: ClassVar[str | None] = "/unsloth/jobs"
    input_spec_schema: ClassVar[type[BaseModel] | None] = UnslothJob
    spec_schema: ClassVar[type[BaseModel] | None] = UnslothJobWithOutput

    @classmethod
    def resolve(cls, request: UnslothJob) -> BaseModel:
        """Return the request with its output."""
        output = _output(request) | {"save_method": request.save_method}
        given = request.model_dump(mode="json", exclude={"output"})
        return UnslothJobWithOutput.model_validate(given | {"output": output})
