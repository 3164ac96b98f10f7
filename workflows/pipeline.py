"""The guide's eight steps as stages, and the shorter plans of `evaluate` and `customize` made of the same ones.

Order: the dataset comes before the first evaluation (the guide has it fourth), because the Evaluator reads the test
items from the Data Store.
"""

import os

from pydantic import Field

from workflows import comparison, dataset, doctor, evaluation, in_context, load_test
from workflows.cleanup import Cleaned, adapter_name, clean
from workflows.clients.customizer import CustomizationJob, LossPoint
from workflows.clients.evaluator import EvaluationJob
from workflows.clients.polling import wait_for
from workflows.errors import JobFailed, Unhealthy
from workflows.evaluation import Approach, ItemResult
from workflows.job_stage import JobRun
from workflows.run_directory import write_atomically
from workflows.settings import Model, Settings
from workflows.stage import Context, Stage
from workflows.tracking import Logged, Tracker

JUDGE_KEY_ENV = "NEMOSTACK_JUDGE_API_KEY"
PROJECT = "nemostack"
LABELS = {"zero_shot": "Zero-shot", "in_context": "In-context", "lora": "LoRA", "evaluation": "Evaluation"}


class Checked(Model):
    """Outputs of `environment`."""

    findings: list[doctor.Finding]


class Uploaded(Model):
    """Outputs of `dataset`. `repo` is `namespace/name`, the same in Data Store and Entity Store."""

    repo: str
    test_url: str
    max_tokens: int
    facts: dataset.DatasetFacts
    example_rows: list[int] = Field(default_factory=list)


class Trained(Model):
    """Outputs of `customization`."""

    job_id: str
    model: str
    steps: int | None
    train_loss: list[LossPoint]
    val_loss: list[LossPoint]


class Benchmarked(Model):
    """Outputs of `benchmark`: `task metric.score` -> value."""

    job_id: str
    scores: dict[str, float]


class Compared(Model):
    """Outputs of `comparison`."""

    decision: comparison.Decision | None
    mlflow: Logged


def plan(settings: Settings) -> list[Stage]:
    """List the stages for what is asked."""
    if settings.kind == "customize":
        return [_ENVIRONMENT, _DATASET, _CUSTOMIZATION, CLEANUP]
    if settings.kind == "evaluate":
        if settings.benchmark is not None:
            return [_ENVIRONMENT, _BENCHMARK, CLEANUP]
        return [_ENVIRONMENT, _DATASET, _evaluation("evaluation", "Evaluation"), CLEANUP]
    return [
        _ENVIRONMENT,
        _DATASET,
        _evaluation("zero_shot", "Zero-shot evaluation"),
        _evaluation("in_context", "In-context evaluation"),
        _CUSTOMIZATION,
        _evaluation("lora", "Evaluation of the tuned model"),
        _COMPARISON,
        *([_LOAD_TEST] if settings.load_slo else []),
        CLEANUP,
    ]


def _environment(context: Context) -> Checked:
    findings = doctor.check(context.clients, context.settings, write=False, tell=context.progress.update)
    for finding in findings:
        if finding.level != "ok":
            context.progress.line(f"  {finding.line}")
    bad = [finding for finding in findings if finding.level == "bad"]
    if bad:
        named = "; ".join(f"{finding.service}: {finding.check}" for finding in bad)
        raise Unhealthy(
            f"the environment is not ready, {len(bad)} problem(s): {named}; `nemostack doctor` looks at all"
        )
    return Checked(findings=findings)


def _dataset(context: Context) -> Uploaded:
    settings = context.settings
    data = dataset.load(settings)
    for warning in data.facts.warnings:
        context.progress.line(f"  warning: {warning}")
    name = f"{data.facts.name}-{context.run_id}".lower()
    repo = f"{settings.namespace}/{name}"
    context.note(repo=repo)
    files = {
        "training/train.jsonl": dataset.as_chat(data.train),
        "validation/validation.jsonl": dataset.as_chat(data.validation),
        "testing/test.jsonl": dataset.as_pairs(data.test),
    }
    context.clients.entity_store.ensure_namespace(settings.namespace)
    context.clients.data_store.ensure_namespace(settings.namespace)
    context.progress.update(f"uploading {sum(map(len, files.values())) / 1e6:.1f} MB to {repo}")
    context.clients.data_store.upload(repo, files, message=f"nemostack run {context.run_id}")
    files_url = context.clients.entity_store.register_dataset(settings.namespace, name, project=PROJECT)
    return Uploaded(
        repo=repo,
        test_url=f"{files_url}/testing/test.jsonl",
        max_tokens=settings.max_tokens or data.max_tokens(),
        facts=data.facts,
    )


def _dataset_gone(context: Context) -> str | None:
    repo = context.given("dataset", Uploaded).repo
    namespace, _, name = repo.partition("/")
    if not context.clients.entity_store.has_dataset(namespace, name):
        return f"dataset {repo} is not in the Entity Store any more"
    return None if context.clients.data_store.has(repo) else f"repository {repo} is not in the Data Store any more"


def _evaluation(name: str, title: str) -> Stage:
    needs = ("dataset", "customization") if name == "lora" else ("dataset",)

    def run(context: Context) -> Approach:
        settings = context.settings
        uploaded = context.given("dataset", Uploaded)
        model = settings.model or context.outputs.base_model
        if name == "lora":
            model = context.given("customization", Trained).model
            _wait_until_served(context, model)
        shots = {"in_context": settings.shots, "evaluation": settings.shots}.get(name, 0)
        data = dataset.load(settings)
        examples = in_context.choose(data.train, data.test, shots, settings.seed)
        config = evaluation.config(
            settings,
            context.outputs,
            name=f"{name}-{context.run_id}",
            test_url=uploaded.test_url,
            max_tokens=uploaded.max_tokens,
            examples=examples,
            judge_key=context.judge_key,
        )
        job = _evaluate(context, name, config, model)
        samples = context.clients.evaluator.samples(job.id, evaluation.TASK)
        items = evaluation.item_results(samples or [])
        if items:
            context.run.save_samples(name, items)
            scores = evaluation.estimates_of_items(items, settings.seed)
        else:
            context.progress.line("  this Evaluator hands out no samples: intervals come from its summary")
            summary = context.clients.evaluator.scores(job.id).get(evaluation.TASK, {})
            scores = evaluation.estimates_of_summary(summary, min(settings.limit, len(data.test)))
        evaluation.require_scores(scores, job.id)
        return Approach(
            name=name,
            label=LABELS[name],
            model=model,
            shots=len(examples),
            job_id=job.id,
            items=len(items) or max(score.n for score in scores.values()),
            per_item=bool(items),
            scores=scores,
        )

    def summary(approach: Approach) -> str:
        shown = approach.scores.get("rouge_l")
        return f"ROUGE-L {comparison.interval_text(shown)}" if shown else f"{approach.items} items"

    def skip(context: Context) -> str | None:
        return "no examples asked for (--shots 0)" if name == "in_context" and context.settings.shots == 0 else None

    return Stage(name=name, title=title, run=run, gives=Approach, needs=needs, skip=skip, summary=summary)


def _evaluate(context: Context, stage: str, config: dict[str, object], model: str) -> EvaluationJob:
    evaluator = context.clients.evaluator

    def describe(job: EvaluationJob) -> str:
        done = "" if job.progress is None else f" {job.progress:.0f} %"
        said = f", {job.message}" if job.message not in {"", job.status, "completed"} else ""
        return f"{job.status}{done}{said}"

    return JobRun[EvaluationJob](
        what="evaluation job",
        start=lambda: evaluator.start(
            config=config,
            target=evaluation.target(context.outputs, model),
            namespace=context.settings.namespace,
            run_id=context.run_id,
            stage=stage,
        ),
        find=lambda: evaluator.find(context.run_id, stage),
        get=evaluator.get,
        describe=describe,
        deadline_s=context.settings.deadlines.evaluation,
        outage_s=context.settings.deadlines.outage,
    ).complete(context)


def _wait_until_served(context: Context, model: str) -> None:
    context.progress.update(f"waiting until NIM serves {model}")
    wait_for(
        context.clients.nim.models,
        done=lambda models: model in models,
        describe=lambda models: f"NIM serves {', '.join(models) or 'nothing'}",
        what=f"NIM picking up {model}",
        deadline_s=context.settings.deadlines.adapter,
        outage_s=context.settings.deadlines.outage,
        pace=context.pace,
        tell=context.progress.update,
    )


def _customization(context: Context) -> Trained:
    customizer, settings = context.clients.customizer, context.settings
    repo = context.given("dataset", Uploaded).repo

    def describe(job: CustomizationJob) -> str:
        parts = [job.status]
        if job.steps_completed:
            total = (job.steps_per_epoch or 0) * settings.hyperparameters.epochs
            parts.append(f"step {job.steps_completed}{f' of {total}' if total else ''}")
        if job.train_loss:
            parts.append(f"training loss {job.train_loss[-1].value:.3f}")
        if job.val_loss:
            parts.append(f"validation loss {job.val_loss[-1].value:.3f}")
        return ", ".join(parts)

    job = JobRun[CustomizationJob](
        what="customization job",
        start=lambda: customizer.start(
            config=context.outputs.customization_config,
            dataset=repo,
            output_model=adapter_name(repo),
            asked=settings.hyperparameters,
            seed=settings.seed,
            run_id=context.run_id,
            stage="customization",
        ),
        find=lambda: customizer.find(context.run_id, "customization"),
        get=customizer.get,
        describe=describe,
        deadline_s=settings.deadlines.customization,
        outage_s=settings.deadlines.outage,
    ).complete(context)
    if job.output_model is None:
        raise JobFailed(f"customization job {job.id} completed without naming its model; see the Customizer's log")
    return Trained(
        job_id=job.id,
        model=job.output_model,
        steps=job.steps_completed,
        train_loss=job.train_loss,
        val_loss=job.val_loss,
    )


def _model_gone(context: Context) -> str | None:
    model = context.given("customization", Trained).model
    return (
        None if context.clients.entity_store.has_model(model) else f"model {model} is not in the Entity Store any more"
    )


def _benchmark(context: Context) -> Benchmarked:
    settings = context.settings
    assert settings.benchmark is not None
    config = evaluation.benchmark_config(settings, settings.benchmark)
    job = _evaluate(context, "benchmark", config, settings.model or context.outputs.base_model)
    scores = {
        f"{task} {name}": score.value
        for task, named in context.clients.evaluator.scores(job.id).items()
        for name, score in named.items()
        if score.value is not None
    }
    if not scores:
        raise JobFailed(f"evaluation job {job.id} completed without scores; see the Evaluator's log")
    return Benchmarked(job_id=job.id, scores=scores)


def approaches(context: Context) -> tuple[list[Approach], dict[str, list[ItemResult]]]:
    """Collect what has been evaluated so far, in the order of the ladder, and the items of each."""
    done = [context.given(name, Approach) for name in LABELS if context.run.stage(name).status == "done"]
    return done, {approach.name: context.run.load_samples(approach.name, ItemResult) for approach in done}


def _comparison(context: Context) -> Compared:
    evaluated, items = approaches(context)
    result = comparison.compare(evaluated, items, seed=context.settings.seed)
    write_atomically(context.run.path / "comparison.json", result.model_dump_json(indent=2) + "\n")
    write_atomically(context.run.path / "comparison.csv", comparison.to_csv(result))
    context.progress.update("logging to MLflow")
    trained = context.given("customization", Trained)
    curves = {
        name: [(point.step, point.value) for point in points]
        for name, points in (("train_loss", trained.train_loss), ("val_loss", trained.val_loss))
    }
    tracker = Tracker(context.outputs.mlflow_url, context.settings.experiment, context.run_id)
    logged = tracker.log(context.settings, result, curves)
    if logged.problem:
        context.progress.line(f"  warning: {logged.problem}")
    return Compared(decision=result.decision, mlflow=logged)


def _load_test(context: Context) -> load_test.LoadTested:
    return load_test.run(context, context.given("customization", Trained).model)


def _cleaned_up(cleaned: Cleaned) -> str:
    said = f"{len(cleaned.removed)} thing(s) removed"
    return f"{said}, adapter {', '.join(cleaned.kept)} kept: NIM goes on serving it" if cleaned.kept else said


def judge_key() -> str | None:
    """Key for the judge's endpoint, from the environment, where no process list shows it."""
    return os.environ.get(JUDGE_KEY_ENV) or None


_ENVIRONMENT = Stage(
    name="environment",
    title="Environment check",
    run=_environment,
    gives=Checked,
    every_time=True,
    summary=lambda checked: f"{len(checked.findings)} checks",
)
_DATASET = Stage(
    name="dataset",
    title="Dataset validation and upload",
    run=_dataset,
    gives=Uploaded,
    gone=_dataset_gone,
    summary=lambda uploaded: (
        ", ".join(f"{split} {facts.rows}" for split, facts in uploaded.facts.splits.items())
        + f" rows in {uploaded.repo}"
    ),
)
_CUSTOMIZATION = Stage(
    name="customization",
    title="LoRA customization",
    run=_customization,
    gives=Trained,
    needs=("dataset",),
    gone=_model_gone,
    summary=lambda trained: f"model {trained.model}",
)
_BENCHMARK = Stage(name="benchmark", title="Benchmark", run=_benchmark, gives=Benchmarked)
_COMPARISON = Stage(
    name="comparison",
    title="Comparison",
    run=_comparison,
    gives=Compared,
    needs=("zero_shot", "in_context", "customization", "lora"),
    summary=lambda compared: "no decision" if compared.decision is None else compared.decision.outcome,
)
_LOAD_TEST = Stage(
    name="load_test",
    title="Load test",
    run=_load_test,
    gives=load_test.LoadTested,
    needs=("customization",),
    summary=lambda tested: tested.line,
)
CLEANUP = Stage(name="cleanup", title="Cleanup", run=clean, gives=Cleaned, summary=_cleaned_up)
