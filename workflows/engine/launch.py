"""One run from start to end: finds an unfinished one or makes a new one, holds its lock, logs, runs, reports.

The report is rendered at the end, when every stage's duration is known, and given to MLflow with the samples; a run
that stopped early has one too. Refuses a run that another process holds.
"""

import importlib.metadata
import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nemostack import log_lines, redact
from nemostack.clients import Clients
from nemostack.clients.polling import Pace
from nemostack.clone import describe_commit
from nemostack.console import LOG, Progress
from nemostack.outputs import StackOutputs
from nemostack.product import require_microservices
from nemostack.service_checks import library_versions
from workflows.data import dataset
from workflows.engine.run_directory import RunDirectory, RunInfo, find_unfinished, new_id, now
from workflows.engine.stage import Context, run_stages
from workflows.gate.policy import read_policy
from workflows.pipeline import CLEANUP, plan
from workflows.results.approach import judge_key
from workflows.results.mlflow_export import Tracker
from workflows.settings import Settings
from workflows.stages.cleanup import Cleaned, require_no_alias
from workflows.stages.comparison import Compared


@dataclass(frozen=True)
class Launch:
    """A run and what it works with."""

    run: RunDirectory
    resumed: bool
    settings: Settings
    outputs: StackOutputs


def prepare(root: Path, settings: Settings, outputs: StackOutputs, *, new: bool) -> Launch:
    """Find the unfinished run of the same identity, unless `new`; else make a new one."""
    settings = settings.suited_to(outputs.base_model)
    read_policy(settings.policy)  # what cannot be used leaves no run behind
    if settings.benchmark or settings.benchmarks:
        require_microservices(outputs, "a benchmark of lm-eval")
    if settings.benchmark is None:
        dataset.load(settings)
    identity = settings.identity(outputs, dataset.digest(settings))
    unfinished = None if new else find_unfinished(root, settings.kind, identity)
    if unfinished is not None:
        return Launch(run=unfinished, resumed=True, settings=settings, outputs=outputs)
    at = now()
    info = RunInfo(
        id=new_id(root, identity, at),
        kind=settings.kind,
        identity=identity,
        created_at=at,
        settings=settings,
        outputs=redact.redact_all(outputs.model_dump(mode="json")),
        versions=versions(),
        git_commit=describe_commit(),
    )
    return Launch(run=RunDirectory.create(root, info), resumed=False, settings=settings, outputs=outputs)


def execute(launch: Launch, clients: Clients, progress: Progress, pace: Pace | None = None) -> None:
    """Run all stages to the end; finished_at is set only then."""
    stages = plan(launch.settings)
    with _held(launch, clients, progress, pace) as context:
        if launch.resumed:
            settled = sum(launch.run.stage(stage.name).settled for stage in stages)
            progress.line(
                f"resuming {launch.run.path}, {settled} of {len(stages)} stages settled (--new starts another)"
            )
            launch.run.save_info(launch.run.info().model_copy(update={"settings": launch.settings}))
        else:
            progress.line(f"run {launch.run.path}")
        try:
            run_stages(stages, context)
        finally:
            _render(launch.run)
        launch.run.save_info(launch.run.info().model_copy(update={"finished_at": now()}))
        _render(launch.run)
        _publish(launch, progress)


def clean_up(launch: Launch, clients: Clients, progress: Progress) -> Cleaned:
    """Remove what a run left on the stack, finished or not, and count it as finished."""
    with _held(launch, clients, progress, None) as context:
        require_no_alias(clients, launch.run)
        record = launch.run.stage(CLEANUP.name, CLEANUP.title)
        if record.settled:
            record.status = "pending"
            launch.run.save_stage(record)
        run_stages([CLEANUP], context)
        launch.run.save_info(launch.run.info().model_copy(update={"finished_at": now()}))
        _render(launch.run)
        return Cleaned.model_validate(launch.run.stage(CLEANUP.name).outputs)


def versions() -> dict[str, str]:
    """Of us, Python and the official clients."""
    try:
        own = importlib.metadata.version("nemostack")
    except importlib.metadata.PackageNotFoundError:
        own = "not installed"
    return {"nemostack": own, "python": platform.python_version(), **library_versions()}


@contextmanager
def _held(launch: Launch, clients: Clients, progress: Progress, pace: Pace | None) -> Iterator[Context]:
    """Hold the run locked, its log open."""
    key = judge_key()
    if key is not None:
        redact.remember(key)
    run_id = launch.run.info().id
    with launch.run.locked(), log_lines.bound(run=run_id), _logging_to(launch.run.path / "run.log"):
        yield Context(
            run=launch.run,
            run_id=run_id,
            settings=launch.settings,
            outputs=launch.outputs,
            clients=clients,
            progress=progress,
            pace=pace or Pace(),
            judge_key=key,
        )


@contextmanager
def _logging_to(file: Path) -> Iterator[None]:
    handler = logging.FileHandler(file, encoding="utf-8")
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(log_lines.JsonFormatter() if log_lines.wants_json() else text)
    LOG.setLevel(logging.DEBUG)
    LOG.addHandler(handler)
    try:
        yield
    except BaseException as error:
        LOG.error("%s: %s", type(error).__name__, redact.redact(str(error)))
        raise
    finally:
        LOG.removeHandler(handler)
        handler.close()


def _publish(launch: Launch, progress: Progress) -> None:
    record = launch.run.stage("comparison")
    if record.status != "done":
        return
    parent = Compared.model_validate(record.outputs).mlflow.run_id
    if parent is None:
        return
    progress.start("Storing report and samples in MLflow")
    kept = [launch.run.path / name for name in ("report.html", "prompt.json")]
    files = [*(file for file in kept if file.exists()), *sorted((launch.run.path / "samples").glob("*.jsonl"))]
    problem = Tracker(launch.outputs.mlflow_url, launch.settings.experiment, launch.run.path.name).attach(parent, files)
    progress.stop()
    if problem:
        progress.line(f"warning: {problem}")


def _render(run: RunDirectory) -> None:
    from workflows.report import write_report

    if run.info().kind == "run":
        write_report(run)
