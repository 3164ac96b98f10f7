"""What runs have left on a stack that nobody will take away: of killed runs, and of runs whose folder is gone.

The proof that something is ours is the dataset of the run: it is registered with the run's id and with the folder of
runs and the machine that made it, before anything else is made, and removed last. What the run made besides carries
its id or is named after that dataset. So an adapter that was kept on purpose is no orphan (its dataset is gone), and
what other folders or machines have made is listed at most. An alias is one when we have written down its changes and no
model that it leads to is served any more. Looking changes nothing; removing an orphan is what `nemostack cleanup` does.
"""

import re
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nemostack.aliases import AliasState
from nemostack.clients import Clients
from nemostack.console import Progress
from nemostack.errors import BadInput
from nemostack.models import Model
from workflows.engine.launch import Launch, clean_up
from workflows.engine.run_directory import RunDirectory, RunInfo, StageRecord, now
from workflows.promotion.history import NAMESPACE, History
from workflows.results.overview import RunRow, row_of
from workflows.settings import Settings
from workflows.stages.cleanup import adapter_name, aliases_of, is_same_stack, leading_to
from workflows.stages.upload import ORIGIN, RUN_ID, origin_of

_RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}(-\d+)?")


class Orphan(Model):
    """A run or an alias. `stays` is why it is left alone; `folder` is that of a run which has one."""

    name: str
    why: str
    things: tuple[str, ...] = ()
    stays: str = ""
    dataset: str = ""
    folder: Path | None = None
    alias: bool = False


def find_orphans(clients: Clients, runs: Path, namespace: str, *, older_than_days: float) -> list[Orphan]:
    """Look for them in a namespace of a stack. `runs`: the folder of runs that they must come from."""
    aliases = aliases_of(clients)
    found = [
        _of_run(clients, runs, f"{namespace}/{name}", {key: str(value) for key, value in fields.items()}, aliases)
        for name, fields in sorted(clients.datasets.fields(namespace).items())
        if fields.get(RUN_ID)
    ]
    limit = now() - timedelta(days=older_than_days)
    young = [
        one.model_copy(update={"stays": f"it is younger than {older_than_days:g} day(s): it may still be wanted"})
        if not one.stays and (_made_at(one.name) or limit) > limit
        else one
        for one in found
        if one is not None
    ]
    return [*young, *_dead_aliases(clients, aliases)]


def remove_orphan(orphan: Orphan, clients: Clients, progress: Progress, experiment: str) -> list[str]:
    """Take one away; the names of what was there. BadInput for one that stays."""
    if orphan.stays:
        raise BadInput(f"{orphan.name} stays: {orphan.stays}")
    if orphan.alias:
        before = clients.aliases.aliases()[orphan.name].alias
        History(clients, orphan.name, experiment).add("remove", before, before, orphan.why)
        clients.aliases.remove_alias(orphan.name)
        return [f"alias {orphan.name}"]
    if orphan.folder is not None:
        return _clean(RunDirectory.open(orphan.folder), clients, progress)
    with tempfile.TemporaryDirectory(prefix="nemostack-orphan-") as folder:
        return _clean(_rebuilt(orphan, clients, Path(folder)), clients, progress)


def _of_run(
    clients: Clients, runs: Path, repo: str, fields: dict[str, str], aliases: dict[str, AliasState]
) -> Orphan | None:
    run_id = fields[RUN_ID]
    known = _RUN_ID.fullmatch(run_id) and (runs / run_id / "run.json").exists()
    row = row_of(runs / run_id) if known else None
    if row is not None and row.state == "running":
        return None
    orphan = Orphan(
        name=run_id,
        why="its folder is gone" if row is None else f"it is {row.state}: {row.last or row.problem}",
        dataset=repo,
        folder=None if row is None else row.path,
    )
    stays = _not_ours(clients, runs, fields, row)
    if stays:
        return orphan.model_copy(update={"stays": stays})
    evaluations, trainings = clients.evaluator.ids_of_run(run_id), clients.customizer.ids_of_run(run_id)
    adapters = {clients.customizer.model_of(adapter_name(repo), job) for job in trainings} if aliases else set()
    if leading := leading_to(aliases, repo, adapters):
        stays = f"the alias {', '.join(leading)} leads to its adapter: `nemostack rollback` first"
    things = [f"dataset {repo}", *(f"evaluation job {job}" for job in evaluations)]
    things += [f"LoRA job {job}" for job in trainings]
    return orphan.model_copy(update={"things": tuple(things), "stays": stays})


def _not_ours(clients: Clients, runs: Path, fields: dict[str, str], row: RunRow | None) -> str:
    """Why it cannot be proved that a run's dataset was left by this folder of runs; "" when it can."""
    if not _RUN_ID.fullmatch(fields[RUN_ID]):
        return "its run has a name that no run of ours has"
    if not fields.get(ORIGIN):
        return "it does not say from which folder of runs it was made: `nemostack cleanup RUN` where that is"
    if fields[ORIGIN] != origin_of(runs):
        return "it was made from another folder of runs or machine: `nemostack cleanup RUN` there"
    if row is not None and (row.state == "unreadable" or not is_same_stack(_info(row.path), clients.outputs)):
        return f"its folder {row.path} does not fit to it"
    return ""


def _info(folder: Path) -> RunInfo:
    return RunDirectory.open(folder).info()


def _rebuilt(orphan: Orphan, clients: Clients, folder: Path) -> RunDirectory:
    """Write down again, from the marks on the stack, what the run had written down of what it made."""
    outputs, repo = clients.outputs, orphan.dataset
    info = RunInfo(
        id=orphan.name,
        kind="run",
        identity="",
        created_at=_made_at(orphan.name) or now(),
        settings=Settings(namespace=repo.partition("/")[0]),
        outputs=outputs.model_dump(mode="json"),
        versions={},
        git_commit=None,
    )
    run = RunDirectory.create(folder, info)
    notes = {
        "dataset": {"repo": repo},
        "prompt": {"model": f"{repo}-prompt"},
        "evaluation": {"jobs": clients.evaluator.ids_of_run(orphan.name)},
        "customization": {"jobs": clients.customizer.ids_of_run(orphan.name)},
    }
    for name, noted in notes.items():
        run.save_stage(StageRecord(name=name, title=name, status="interrupted", notes=noted))
    return run


def _clean(run: RunDirectory, clients: Clients, progress: Progress) -> list[str]:
    settings = run.info().settings.model_copy(update={"keep_adapter": False, "kind": "run"})
    return clean_up(
        Launch(run=run, resumed=True, settings=settings, outputs=clients.outputs), clients, progress
    ).removed


def _made_at(run_id: str) -> datetime | None:
    """When a run was made, by its id; None for an id of another form."""
    try:
        return datetime.strptime(run_id[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _dead_aliases(clients: Clients, aliases: dict[str, AliasState]) -> Iterator[Orphan]:
    served = set(clients.front.models()) if aliases else set()
    for name, state in aliases.items():
        models = [route.model for route in state.alias.routes]
        if served & set(models):
            continue
        known = clients.records.record(NAMESPACE, name)
        yield Orphan(
            name=name,
            why=f"{', '.join(models)} is served no more",
            things=(f"alias {name}",),
            stays="" if known else "it was not set by `nemostack promote`",
            alias=True,
        )
