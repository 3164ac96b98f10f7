"""The dataset: validated, uploaded to the Data Store as chats and pairs, registered in the Entity Store."""

from functools import partial

from nemostack.clients.datasets import PROJECT
from nemostack.models import Model
from workflows.data import dataset
from workflows.data.registry import HASH, files_of
from workflows.engine.stage import Context, Stage


class Uploaded(Model):
    """Outputs of the stage. `repo` is `namespace/name`, the same in Data Store and Entity Store."""

    repo: str
    test_url: str
    max_tokens: int
    chats: bool = False
    """Whether a test item is a chat of several turns."""
    facts: dataset.DatasetFacts


def _run(context: Context) -> Uploaded:
    settings = context.settings
    data = dataset.load(settings)
    for warning in data.facts.warnings:
        context.progress.line(f"  warning: {warning}")
    name = f"{data.facts.name}-{context.run_id}".lower()
    repo = f"{settings.namespace}/{name}"
    context.note(repo=repo)
    files = files_of(data)
    context.clients.entity_store.ensure_namespace(settings.namespace)
    context.clients.data_store.ensure_namespace(settings.namespace)
    context.progress.update(f"uploading {sum(map(len, files.values())) / 1e6:.1f} MB to {repo}")
    context.clients.data_store.upload(repo, files, message=f"nemostack run {context.run_id}")
    files_url = context.clients.entity_store.register_dataset(
        settings.namespace,
        name,
        project=PROJECT,
        description="Uploaded by nemostack; its run removes it",
        fields={HASH: data.facts.sha256, "nemostack_run_id": context.run_id},
    )
    return Uploaded(
        repo=repo,
        test_url=f"{files_url}/testing/test.jsonl",
        max_tokens=settings.max_tokens
        or data.max_tokens(partial(context.clients.nim.count_tokens, context.outputs.base_model)),
        chats=data.chats,
        facts=data.facts,
    )


def _gone(context: Context) -> str | None:
    repo = context.given("dataset", Uploaded).repo
    namespace, _, name = repo.partition("/")
    if not context.clients.entity_store.has_dataset(namespace, name):
        return f"dataset {repo} is not in the Entity Store any more"
    return None if context.clients.data_store.has(repo) else f"repository {repo} is not in the Data Store any more"


DATASET = Stage(
    name="dataset",
    title="Dataset validation and upload",
    run=_run,
    gives=Uploaded,
    gone=_gone,
    summary=lambda uploaded: (
        ", ".join(f"{split} {facts.rows}" for split, facts in uploaded.facts.splits.items())
        + f" rows in {uploaded.repo}"
    ),
)
