"""Evaluations as stages: of a model on the test items (zero-shot, in-context, tuned), or on a benchmark."""

from collections.abc import Sequence

from nemostack.clients.evaluator import BenchmarkData, EvaluationJob
from nemostack.clients.serving import wait_until_served
from nemostack.errors import JobFailed
from nemostack.models import Model
from workflows.data import dataset, in_context
from workflows.data.rows import Row, json_lines
from workflows.engine.resumable_job import JobRun
from workflows.engine.stage import Context, Stage
from workflows.results import approach
from workflows.results.approach import Approach
from workflows.results.comparison import interval_text
from workflows.stages.customization import Trained
from workflows.stages.upload import Uploaded

LABELS = {"zero_shot": "Zero-shot", "in_context": "In-context", "lora": "LoRA", "evaluation": "Evaluation"}


class Benchmarked(Model):
    """Outputs of `benchmark`: `task metric.score` -> value."""

    job_id: str
    scores: dict[str, float]
    data: BenchmarkData = BenchmarkData()


def of_model(name: str, title: str) -> Stage:
    """Make the stage of one of `LABELS`."""
    return Stage(
        name=name,
        title=title,
        run=lambda context: _approach(context, name),
        gives=Approach,
        needs=("dataset", "customization") if name == "lora" else ("dataset",),
        skip=lambda context: _no_examples(context) if name == "in_context" else None,
        summary=_summary,
    )


def _no_examples(context: Context) -> str | None:
    return "no examples asked for (--shots 0)" if context.settings.shots == 0 else None


def _summary(approach: Approach) -> str:
    shown = approach.scores.get("rouge_l")
    text = f"ROUGE-L {interval_text(shown)}" if shown else f"{approach.items} items"
    return f"{text}, {approach.cut} of {approach.items} answers cut" if approach.cut else text


def _approach(context: Context, name: str) -> Approach:
    settings = context.settings
    uploaded = context.given("dataset", Uploaded)
    model = _model(context, name)
    shots = {"in_context": settings.shots, "evaluation": settings.shots}.get(name, 0)
    data = dataset.load(settings)
    examples = in_context.choose(data.train, data.test, shots, settings.seed)
    config = approach.config(
        settings,
        context.outputs,
        name=f"{name}-{context.run_id}",
        test_url=_items_url(context, name, uploaded, data, examples),
        max_tokens=uploaded.max_tokens,
        chats=uploaded.chats,
        examples=examples,
        judge_key=context.judge_key,
    )
    job = evaluate(context, name, config, model)
    samples = context.clients.evaluator.samples(job.id, approach.TASK)
    items = approach.item_results(samples or [])
    if items:
        context.run.save_samples(name, items)
        scores = approach.estimates_of_items(items, settings.seed)
    else:
        context.progress.line("  this Evaluator hands out no samples: intervals come from its summary")
        summary = context.clients.evaluator.scores(job.id).get(approach.TASK, {})
        scores = approach.estimates_of_summary(summary, min(settings.limit, len(data.test)))
    approach.require_scores(scores, job.id)
    cut = sum(item.cut for item in items)
    if cut:
        context.progress.line(
            f"  warning: {cut} of {len(items)} answers were cut at {uploaded.max_tokens} tokens, "
            "which lowers every score: raise --max-tokens"
        )
    return Approach(
        name=name,
        label=LABELS[name],
        model=model,
        shots=len(examples),
        job_id=job.id,
        items=len(items) or max(score.n for score in scores.values()),
        per_item=bool(items),
        scores=scores,
        cut=cut,
    )


def _items_url(context: Context, name: str, uploaded: Uploaded, data: dataset.Dataset, examples: Sequence[Row]) -> str:
    """Return where the items are: those of the dataset, or for chats others that have the examples within."""
    if not (uploaded.chats and examples):
        return uploaded.test_url
    folder = uploaded.test_url.rpartition("/")[0]
    items = [
        {"prompt": row.prompt, "completion": row.completion, "messages": in_context.shown_before(examples, row)}
        for row in data.test
    ]
    path = f"{name}.jsonl"
    message = f"nemostack run {context.run_id}: {name}"
    context.clients.data_store.upload(uploaded.repo, {f"testing/{path}": json_lines(items)}, message=message)
    return f"{folder}/{path}"


def _model(context: Context, name: str) -> str:
    if name != "lora":
        return context.settings.model or context.outputs.base_model
    model = context.given("customization", Trained).model
    context.progress.update(f"waiting until NIM serves {model}")
    wait_until_served(
        context.clients.nim,
        model,
        deadline_s=context.settings.deadlines.adapter,
        outage_s=context.settings.deadlines.outage,
        pace=context.pace,
        tell=context.progress.update,
    )
    return model


def evaluate(context: Context, stage: str, config: dict[str, object], model: str) -> EvaluationJob:
    """Carry one evaluation job of a stage to its end."""
    evaluator = context.clients.evaluator

    def describe(job: EvaluationJob) -> str:
        done = "" if job.progress is None else f" {job.progress:.0f} %"
        message = f", {job.message}" if job.message not in {"", job.status, "completed"} else ""
        return f"{job.status}{done}{message}"

    return JobRun[EvaluationJob](
        what="evaluation job",
        start=lambda: evaluator.start(
            config=config,
            target=approach.target(context.outputs, model),
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


def _benchmark(context: Context) -> Benchmarked:
    settings = context.settings
    assert settings.benchmark is not None
    config = approach.benchmark_config(settings, settings.benchmark, limit=settings.limit, shots=settings.shots)
    job = evaluate(context, "benchmark", config, settings.model or context.outputs.base_model)
    scores = {
        f"{task} {name}": score.value
        for task, named in context.clients.evaluator.scores(job.id).items()
        for name, score in named.items()
        if score.value is not None
    }
    if not scores:
        raise JobFailed(f"evaluation job {job.id} completed without scores; see the Evaluator's log")
    data = context.clients.evaluator.benchmark_data(job.id, settings.benchmark)
    return Benchmarked(job_id=job.id, scores=scores, data=data)


BENCHMARK = Stage(name="benchmark", title="Benchmark", run=_benchmark, gives=Benchmarked)
