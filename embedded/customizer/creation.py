"""From a request to a job: everything that can be wrong is found here, before anything is stored or trained."""

import math
import random
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from embedded.common.documents import Document
from embedded.common.errors import ApiError, BadRequest, NotFound, Unprocessable
from embedded.common.files_url import FilesUrl, FilesUrlError
from embedded.common.names import Ref, is_name, new_id, now
from embedded.common.unknown_keys import drop_unknown_keys, log_unknown_keys
from embedded.customizer import stores
from embedded.customizer.base_models import facts
from embedded.customizer.config_store import PROMPT_TEMPLATE, ConfigStore
from embedded.customizer.jobs import Jobs
from embedded.customizer.schemas import DatasetRef, Hyperparameters, JobRequest, Sft
from embedded.customizer.settings import Settings
from embedded.customizer.spec import JobSpec, StoreError
from embedded.customizer.stores import EntityStore

Warnings = list[dict[str, str]]
_PRECISIONS = ("fp32", "bf16", "bf16-mixed")
MIN_VAL_FRACTION = 0.1  # of an epoch, as NVIDIA documents val_check_interval
_MLP_LAYERS = ("gate_proj", "up_proj", "down_proj", "linear_fc")


class Unavailable(ApiError):  # noqa: N818 - an answer, named as HTTP names it
    """503: a service that is needed does not answer; the SDK tries again by itself."""

    status = 503


class Creation:
    """Makes jobs."""

    def __init__(self, settings: Settings, configs: ConfigStore, jobs: Jobs, entities: EntityStore) -> None:
        self._settings, self._configs, self._jobs, self._entities = settings, configs, jobs, entities

    def create(self, request: JobRequest) -> str:
        """Make a job, registered in the Entity Store and ready to be queued; returns its id.

        BadRequest, NotFound, Unprocessable say what is wrong with the request; Unavailable, which service is down.
        """
        warnings = _warnings(request, self._settings.max_served_rank)
        config, target = self._config(request)
        weights = self._configs.weights(target)
        option = _option(config, request.hyperparameters)
        precision = config["training_precision"] or target["precision"]
        if precision not in _PRECISIONS:
            raise BadRequest(f"precision {precision}: available here are {', '.join(_PRECISIONS)}")
        try:
            dataset, url, limit = self._dataset(request, warnings)
        except StoreError as error:
            raise Unavailable(error.message) from error
        job_id, base = new_id("cust"), _base_model(target)
        output, version = _output(request, Ref.parse(base), url)
        hyper = request.hyperparameters
        if hyper.seed is None:
            hyper = hyper.model_copy(update={"seed": random.randrange(2**32)})
        spec = JobSpec(
            job_id=job_id,
            base_model=base,
            weights=weights,
            dataset_url=str(url),
            dataset_limit=limit,
            data_store_url=self._settings.data_store_url,
            output_repo=(output.namespace, output.name),
            output_version=version,
            hyperparameters=hyper,
            max_seq_length=config["max_seq_length"],
            precision=precision,
            prompt_template=config["prompt_template"] or PROMPT_TEMPLATE,
            chat_prompt_template=config["chat_prompt_template"],
            threads=self._settings.cores,
            device=self._settings.accelerator,
            gpus=self._settings.gpus,
            processes=max(1, len(self._settings.gpus)),
            gpu_memory_fraction=self._settings.gpu_memory_fraction,
            seed=hyper.seed or 0,
        )
        shown = _document(spec, request, config, option) | {"dataset": dataset, "warnings": warnings or None}
        model = _model_entity(spec, request, target["num_parameters"])
        self._jobs.folder(job_id).create(spec)
        try:
            self._entities.register(model)
        except StoreError as error:
            self._jobs.folder(job_id).remove()
            raise Unavailable(f"no job was created: {error.message}") from error
        self._jobs.add(shown, model, spec.dataset_url)
        return job_id

    def _config(self, request: JobRequest) -> tuple[Document, Document]:
        if isinstance(request.config, str):
            config = self._configs.resolve("config", request.config)
        else:
            self._configs.check_config(request.config)
            config = request.config.model_dump()
        target = self._configs.find_target(config)
        if not target["enabled"]:
            raise BadRequest(f"target {target['namespace']}/{target['name']} is disabled: enable it by PATCH")
        return config, target

    def _dataset(self, request: JobRequest, warnings: Warnings) -> tuple[str, FilesUrl, int | None]:
        """Find what the job shows as its dataset, where its files are, and how many rows of each part to use."""
        asked = request.dataset
        if isinstance(asked, str):
            asked = DatasetRef(files_url=asked) if "://" in asked else _named(asked)
        if asked.files_url is None:
            if asked.name is None:
                raise Unprocessable("dataset: give its name (and namespace), or its files_url")
            ref = _reference(f"{asked.namespace}/{asked.name}", "dataset")
            entity = self._entities.dataset(ref)
            if entity is None:
                if not stores.has_dataset_repo(self._settings.data_store_url, ref):
                    raise NotFound(
                        f"dataset {ref} is neither in the Entity Store nor in the Data Store: "
                        "upload its files, then POST /v1/datasets"
                    )
                warnings.append(
                    {
                        "message": f"dataset {ref} is not registered in the Entity Store",
                        "explanation": "The Data Store's repository of that name is used.",
                    }
                )
                entity = {"files_url": f"hf://datasets/{ref}"}
            shown = str(ref)
        else:
            entity, shown = asked.model_dump(), asked.files_url
        if entity.get("hf_endpoint"):
            raise BadRequest(f"dataset {shown}: hf_endpoint is not available here; upload the files to the Data Store")
        try:
            return shown, FilesUrl.parse(entity["files_url"]), asked.limit or entity.get("limit")
        except FilesUrlError as error:
            raise BadRequest(f"dataset {shown}: {error}") from error


def _base_model(target: Document) -> str:
    """Return the id that the output's entity names as its base; by default that of the target, without a version."""
    name = str(target["name"] or "inline").partition("@")[0]
    return target["base_model"] or f"{target['namespace']}/{name}"


def _named(text: str) -> DatasetRef:
    ref = _reference(text, "dataset")
    return DatasetRef(namespace=ref.namespace, name=ref.name)


def _reference(text: str, what: str) -> Ref:
    try:
        return Ref.parse(text)
    except ValueError as error:
        raise BadRequest(f"{what}: {error}") from error


def _option(config: Document, hyper: Hyperparameters) -> dict[str, Any]:
    if hyper.training_type != "sft":
        raise BadRequest(f"training_type {hyper.training_type!r} is not available here: use 'sft'")
    for option in config["training_options"]:
        if (option["training_type"], option["finetuning_type"]) == (hyper.training_type, hyper.finetuning_type):
            micro: int = option["micro_batch_size"]
            if hyper.batch_size % micro:
                raise BadRequest(f"batch_size {hyper.batch_size} is no multiple of the micro_batch_size {micro}")
            chosen: dict[str, Any] = option
            return chosen
    allowed = ", ".join(f"{o['training_type']}/{o['finetuning_type']}" for o in config["training_options"])
    raise BadRequest(f"the config allows {allowed}, not {hyper.training_type}/{hyper.finetuning_type}")


def _warning(message: str, explanation: str) -> dict[str, str]:
    return {"message": message, "explanation": explanation}


def _warnings(request: JobRequest, max_served_rank: int | None) -> Warnings:
    """List what is done otherwise than asked; the request is changed to what will be done."""
    hyper = request.hyperparameters
    warnings = [_warning(sentence, "Correct the key, or leave it out.") for sentence in drop_unknown_keys(request)]
    log_unknown_keys("POST /v1/customization/jobs", [warning["message"] for warning in warnings])
    if hyper.sequence_packing_enabled:
        hyper.sequence_packing_enabled = False
        warnings.append(
            _warning(
                "sequence packing is not supported for this model",
                "Training proceeds without; rows of similar length share a pass instead.",
            )
        )
    interval = hyper.val_check_interval
    if interval is not None and interval < MIN_VAL_FRACTION:
        hyper.val_check_interval = MIN_VAL_FRACTION
        warnings.append(
            _warning(
                f"val_check_interval {interval} is raised to {MIN_VAL_FRACTION}",
                f"A fraction of an epoch is at least {MIN_VAL_FRACTION}.",
            )
        )
    warnings += _dropout_warnings(hyper)
    if request.integrations:
        warnings.append(_warning("integrations are not available here", "Nothing is sent to Weights & Biases."))
    if hyper.lora and hyper.finetuning_type == "all_weights":
        warnings.append(_warning("lora is ignored", "finetuning_type is all_weights."))
    elif hyper.lora and hyper.finetuning_type == "lora" and hyper.lora.adapter_dim > (max_served_rank or math.inf):
        warnings.append(
            _warning(
                f"adapter_dim {hyper.lora.adapter_dim} is above the rank {max_served_rank} that NIM serves",
                "The adapter will be stored but not served. Lower adapter_dim, or raise NIM's max_lora_rank.",
            )
        )
    return warnings


def _dropout_warnings(hyper: Hyperparameters) -> Warnings:
    """Replace dropouts of 1, which NVIDIA's examples send: every value would be dropped and nothing learned."""
    ignored = []
    if hyper.lora and hyper.lora.adapter_dropout == 1:
        hyper.lora.adapter_dropout = 0.0
        ignored.append("lora.adapter_dropout")
    for name in Sft.model_fields if hyper.sft else ():
        if getattr(hyper.sft, name) == 1:
            setattr(hyper.sft, name, None)
            ignored.append(f"sft.{name}")
    return [_warning(f"{name} 1 is ignored", "A dropout of 1 leaves nothing to learn from.") for name in ignored]


def _output(request: JobRequest, base: Ref, dataset: FilesUrl) -> tuple[Ref, str]:
    """Return the output's repository, and the version that the request asks for, if any: `namespace/name@v1`."""
    text = request.output_model or f"{request.namespace}/{base.name}-{dataset.repo.name}".replace("+", "-")
    name, at, version = text.partition("@")
    ref = _reference(name, "output_model")
    try:
        validate_repo_id(str(ref))
    except HFValidationError as error:
        raise BadRequest(
            f"output_model {text!r}: letters, digits and . _ - only, at most 96 characters, then @ and a version if it "
            "should be another one than the job's id"
        ) from error
    if at and not is_name(version):
        raise BadRequest(
            f"output_model {text!r}: a version is letters, digits and . _ + -, the first a letter or digit"
        )
    return ref, version


def _document(spec: JobSpec, request: JobRequest, config: Document, option: dict[str, Any]) -> Document:
    """Make what the API shows of a new job, but for its dataset and warnings."""
    hyper, at = spec.hyperparameters, now()
    return {
        **request.model_dump(exclude={"name", "config", "dataset", "hyperparameters"}),
        "id": spec.job_id,
        "config": request.config if isinstance(request.config, str) else config,
        "config_snapshot": {
            "base_model": spec.base_model,
            "precision": spec.precision,
            "max_seq_length": spec.max_seq_length,
            "prompt_template": spec.prompt_template,
            "training_option": option,
        },
        "hyperparameters": hyper.model_dump(exclude_none=True) | {"log_every_n_steps": hyper.log_every_n_steps},
        "output_model": spec.output_model,
        "created_at": at,
        "updated_at": at,
    }


def _model_entity(spec: JobSpec, request: JobRequest, parameters: int) -> Document:
    hyper, known = spec.hyperparameters, facts(spec.weights)
    peft: Document = {"finetuning_type": hyper.finetuning_type}
    if hyper.lora and hyper.finetuning_type != "all_weights":
        targets = hyper.lora.target_modules
        peft["lora"] = {
            "alpha": hyper.lora.alpha,
            "apply_lora_to_mlp": targets is None or any(name in target for target in targets for name in _MLP_LAYERS),
            "apply_lora_to_output": False,
        }
    return {
        "namespace": spec.repo.namespace,
        "name": f"{spec.repo.name}@{spec.revision}",
        "description": request.description,
        "project": request.project,
        "base_model": spec.base_model,
        "peft": peft,
        "artifact": {
            "files_url": f"hf://models/{spec.output_model}",
            "status": "created",
            "backend_engine": "hugging_face",
            "precision": "fp32",
        },
        "spec": {
            "context_size": known.context,
            "is_chat": known.is_chat,
            "num_parameters": known.parameters or parameters,
            "num_virtual_tokens": 0,
        },
    }
