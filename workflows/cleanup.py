"""Takes away what a run has made on the stack: evaluation jobs, dataset, repositories, adapters, in this order.

Works from what the stages wrote down, so a run that was interrupted or failed can be cleaned up too; jobs that are
still going are stopped first. What is gone already is no error, and namespaces stay: others may use them.
"""

from collections.abc import Callable

from workflows.errors import NotFound, ServiceError
from workflows.settings import Model
from workflows.stage import Context

RESULTS_NAMESPACE = "evaluation-results"


class Cleaned(Model):
    """What is gone now, and what was left on purpose."""

    removed: list[str]
    kept: list[str]


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
            for job in record.notes.get("jobs", []):
                if not record.settled:
                    _stop(clients.evaluator.cancel, job)
                took(f"evaluation job {job}", clients.evaluator.delete(job))
                published = f"{RESULTS_NAMESPACE}/{job}"  # where Evaluators copy their results to
                took(f"result repository {published}", clients.data_store.delete(published, "dataset"))
    repo = run.stage("dataset").notes.get("repo")
    if repo is None:
        return Cleaned(removed=removed, kept=[])
    kept = _adapters(context, repo, took)
    namespace, _, name = repo.partition("/")
    took(f"dataset {repo}", clients.entity_store.delete_dataset(namespace, name))
    took(f"dataset repository {repo}", clients.data_store.delete(repo, "dataset"))
    return Cleaned(removed=removed, kept=kept)


def adapter_name(repo: str) -> str:
    """`namespace/name` of the adapter trained on dataset `repo`, without the job's id."""
    return f"{repo}-lora"


def _adapters(context: Context, repo: str, took: Callable[[str, bool], None]) -> list[str]:
    clients, record = context.clients, context.run.stage("customization")
    jobs = record.notes.get("jobs", [])
    wanted = record.outputs.get("model") if _keeps(context) else None
    if not record.settled:
        for job in jobs:
            _stop(clients.customizer.cancel, job)
    for job in jobs:
        model = f"{adapter_name(repo)}@{job}"
        if model != wanted:
            took(f"adapter {model}", clients.entity_store.delete_model(model))
    if wanted is not None:
        return [wanted]
    if jobs:
        took(f"model repository {adapter_name(repo)}", clients.data_store.delete(adapter_name(repo), "model"))
    return []


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
