"""The dataset: validated, uploaded as chats and pairs, and registered."""

import hashlib
import socket
from functools import partial
from pathlib import Path

from nemostack.models import Model
from workflows.data import dataset
from workflows.data.registry import HASH, files_of
from workflows.engine.stage import Context, Stage

RUN_ID, ORIGIN = "nemostack_run_id", "nemostack_origin"


class Uploaded(Model):
    """Outputs of the stage. `repo` is `namespace/name`, on either product line."""

    repo: str
    test_url: str
    max_tokens: int
    chats: bool = False
    """Whether a test item is a chat of several turns."""
    facts: dataset.DatasetFacts

    @property
    def training_rows(self) -> int:
        """Rows that a job trains on."""
        return self.facts.splits["train"].rows


def origin_of(runs: Path) -> str:
    """Mark what is made from a folder of runs on this machine, so that its orphans can be told from those of others."""
    return hashlib.sha256(f"{socket.gethostname()}:{runs.resolve()}".encode()).hexdigest()[:16]


def _run(context: Context) -> Uploaded:
    settings = context.settings
    data = dataset.load(settings)
    for warning in data.facts.warnings:
        context.progress.line(f"  warning: {warning}")
    name = f"{data.facts.name}-{context.run_id}".lower()
    repo = f"{settings.namespace}/{name}"
    context.note(repo=repo)
    files = files_of(data)
    datasets = context.clients.datasets
    context.progress.update(f"uploading {sum(map(len, files.values())) / 1e6:.1f} MB to {repo}")
    datasets.upload(settings.namespace, name, files, message=f"nemostack run {context.run_id}")
    reference = datasets.register(
        settings.namespace,
        name,
        description="Uploaded by nemostack; its run removes it",
        fields={HASH: data.facts.sha256, RUN_ID: context.run_id, ORIGIN: origin_of(context.run.path.parent)},
    )
    return Uploaded(
        repo=repo,
        test_url=datasets.file_of(reference, "testing/test.jsonl"),
        max_tokens=settings.max_tokens
        or data.max_tokens(partial(context.clients.nim.count_tokens, context.outputs.base_model)),
        chats=data.chats,
        facts=data.facts,
    )


def _gone(context: Context) -> str | None:
    repo = context.given("dataset", Uploaded).repo
    namespace, _, name = repo.partition("/")
    return context.clients.datasets.missing(namespace, name)


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
