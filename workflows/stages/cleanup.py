"""Takes away what a run has made on the stack: evaluation jobs, dataset, repositories, adapters, in this order.

Works from what the stages wrote down, so a run that was interrupted or failed can be cleaned up too; jobs that are
still going are stopped first, a job whose id was never written down included. What is gone already is no error, and
namespaces stay: others may use them. Therefore it refuses another stack than the run was made on: there all would seem
to be gone.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic import Field

from nemostack.aliases import AliasState
from nemostack.clients import Clients
from nemostack.clients.jobs import Job
from nemostack.errors import BadInput, NotFound, ServiceError
from nemostack.models import Model
from nemostack.outputs import StackOutputs
from nemostack.redact import redact_all
from workflows.engine.run_directory import TRIALS, RunDirectory, RunInfo, StageRecord
from workflows.engine.stage import Context


class Cleaned(Model):
    """What is gone now, and what was left on purpose."""

    removed: list[str]
    kept: list[str]
    prompts: list[str] = Field(default_factory=list)
    """Prompts that stay with the adapters."""


def require_same_stack(info: RunInfo, outputs: StackOutputs) -> None:
    """BadInput when `outputs` are not of the stack that the run was made on."""
    if not is_same_stack(info, outputs):
        given = redact_all(outputs.model_dump(mode="json"))
        raise BadInput(
            f"run {info.id} was made on {_said(info.outputs)}, and this is {_said(given)}: nothing was removed; name "
            "the stack of the run with --stack or --outputs"
        )


def is_same_stack(info: RunInfo, outputs: StackOutputs) -> bool:
    """Whether `outputs` are of the stack that the run was made on."""
    made_on, given = info.outputs, redact_all(outputs.model_dump(mode="json"))
    same = all(made_on.get(key) == given[key] for key in ("nemo_url", "data_store_url"))
    # Stacks on clusters share the loopback URLs of `port-forward`; services given one by one name no target.
    if "given" not in {made_on.get("target"), given["target"]}:
        same = same and _place(made_on) == _place(given)
    return same


def _place(outputs: dict[str, Any]) -> tuple[Any, Any]:
    return outputs.get("target"), (outputs.get("cluster") or {}).get("context")


def _said(outputs: dict[str, Any]) -> str:
    target, context = _place(outputs)
    where = f", context {context}" if context else ""
    return f"target {target}{where} ({outputs.get('nemo_url')}, Data Store {outputs.get('data_store_url')})"


def require_no_alias(clients: Clients, run: RunDirectory) -> None:
    """BadInput when an alias leads to an adapter of the run: its users would be left without a model."""
    repo, aliases = run.stage("dataset").notes.get("repo"), aliases_of(clients)
    if repo is None or not aliases:
        return
    trainings = [run.stage("customization"), *RunDirectory(run.path / TRIALS).stages()]
    if leading := leading_to(aliases, repo, {str(record.outputs.get("model")) for record in trainings}):
        raise BadInput(
            f"the alias {', '.join(leading)} leads to the adapter of run {run.info().id}: nothing was removed; "
            "`nemostack rollback` the alias first"
        )


def clean(context: Context) -> Cleaned:
    """Remove everything; ServiceError names the first thing that could not be, and running again goes on there."""
    clients, run = context.clients, context.run
    removed: list[str] = list(context.notes.get("removed", []))

    def took(what: str, there: bool) -> None:
        if there:
            removed.append(what)
            context.note(removed=removed)
            context.progress.update(f"removed {what}")

    for record in run.stages():
        if record.name != "customization":
            _recover(context, record, clients.evaluator.find)
            for job in record.notes.get("jobs", []):
                if not record.settled:
                    _stop(clients.evaluator.cancel, job)
                for what in clients.evaluator.delete(job):
                    took(what, True)
    repo = run.stage("dataset").notes.get("repo")
    if repo is None:
        return Cleaned(removed=removed, kept=[])
    kept = _adapters(context, repo, took)
    prompt = run.stage("prompt").notes.get("model")
    prompts = [prompt] if prompt and _keeps(context) else []
    if prompt and not prompts:
        took(f"prompt {prompt}", clients.models.delete_prompt(prompt))
    namespace, _, name = repo.partition("/")
    for what in clients.datasets.delete(namespace, name):
        took(what, True)
    return Cleaned(removed=removed, kept=kept, prompts=prompts)


def adapter_name(repo: str) -> str:
    """`namespace/name` of the adapter trained on dataset `repo`, without the job's id."""
    return f"{repo}-lora"


def aliases_of(clients: Clients) -> dict[str, AliasState]:
    """All aliases of the stack; none where nothing routes by them."""
    try:
        return clients.aliases.aliases()
    except ServiceError as error:
        if error.status == 404:
            return {}
        raise


def leading_to(aliases: dict[str, AliasState], repo: str, adapters: set[str]) -> list[str]:
    """Names of the aliases that lead to one of these adapters, or to another one that was trained on dataset `repo`."""
    ours = f"{adapter_name(repo)}@"
    return [
        name
        for name, state in aliases.items()
        if any(model in adapters or model.startswith(ours) for model in state.alias.models)
    ]


def _adapters(context: Context, repo: str, took: Callable[[str, bool], None]) -> list[str]:
    clients, record = context.clients, context.run.stage("customization")
    kept_model = record.outputs.get("model") if _keeps(context) else None
    jobs: list[str] = []
    for own, one in _trainings(context):
        _recover(own, one, clients.customizer.find)
        if not one.settled:
            for job in one.notes.get("jobs", []):
                _stop(clients.customizer.cancel, job)
        jobs += one.notes.get("jobs", [])
    for job in jobs:
        model = clients.customizer.model_of(adapter_name(repo), job)
        if model != kept_model:
            took(f"adapter {model}", clients.models.delete_model(model))
            for what in clients.customizer.delete(job):
                took(what, True)
    if kept_model is not None:
        return [kept_model]
    if jobs:
        took(f"model repository {adapter_name(repo)}", clients.models.delete_repository(adapter_name(repo)))
    return []


def _trainings(context: Context) -> list[tuple[Context, StageRecord]]:
    """The one training of a run, and the trials of a sweep, each with the folder that its record is in."""
    trials = replace(context, run=RunDirectory(context.run.path / TRIALS))
    return [(context, context.run.stage("customization")), *((trials, record) for record in trials.run.stages())]


def _recover(context: Context, record: StageRecord, find: Callable[[str, str], Job | None]) -> None:
    """Write down the job of a stage that was killed between starting it and writing down its id."""
    if not record.notes.get("starting"):
        return
    jobs = record.notes.get("jobs", [])
    job = find(context.run_id, record.name)
    if job is not None and job.id not in jobs:
        record.notes["jobs"] = [*jobs, job.id]
        context.run.save_stage(record)


def _keeps(context: Context) -> bool:
    return context.settings.keep_adapter or context.settings.kind == "customize"


def _stop(cancel: Callable[[str], None], job: str) -> None:
    try:
        cancel(job)
    except NotFound:
        return
    except ServiceError as error:
        if error.status not in {400, 409, 422}:  # it had ended
            raise
