"""Last step: the fileset becomes an adapter of its base model, or a model of its own.

An adapter or model of that name that exists already points to the new files from then on, as with NVIDIA's backends.
"""

from typing import Any

from nemo_platform import APIError, ConflictError

from embedded.customizer.spec import JobError
from embedded.training_hub.steps.job import Job


def run(job: Job) -> None:
    """Create the entity, or point it to the new fileset."""
    output = job.terms.output
    try:
        _adapter(job) if output.type == "adapter" else _model(job)
    except APIError as error:
        raise JobError(f"{output.type} {job.workspace}/{output.name} cannot be created: {error}") from error
    job.report("completed", **{output.type: f"{job.workspace}/{output.name}"})


def _fileset(job: Job) -> str:
    return f"{job.workspace}/{job.terms.output.fileset}"


def _adapter(job: Job) -> None:
    output, lora = job.terms.output, job.terms.hyperparameters.lora
    if lora is None:
        raise JobError("an adapter without LoRA settings")
    adapters: Any = job.platform.models.adapters
    model, workspace = job.base["name"], job.base["workspace"]
    description = output.description or f"LoRA adapter of {job.model}"
    try:
        adapters.create(
            model_name=model,
            workspace=workspace,
            name=output.name,
            description=description,
            fileset=_fileset(job),
            finetuning_type="lora",
            lora_config={"rank": lora.adapter_dim, "alpha": lora.alpha},
            enabled=True,
        )
    except ConflictError:
        adapters.update(
            adapter=output.name,
            model_name=model,
            workspace=workspace,
            fileset=_fileset(job),
            description=description,
            enabled=True,
        )


def _model(job: Job) -> None:
    output = job.terms.output
    models: Any = job.platform.models
    entity = {
        "description": output.description or f"{job.terms.hyperparameters.finetuning_type} of {job.model}",
        "fileset": _fileset(job),
        "finetuning_type": job.terms.hyperparameters.finetuning_type,
        "base_model": job.model,
    }
    try:
        models.create(name=output.name, workspace=job.workspace, **entity)
    except ConflictError:
        models.update(name=output.name, workspace=job.workspace, **entity)
