"""Evaluations as stages: of a model on the test items (zero-shot, in-context, tuned), or on a benchmark."""

from collections.abc import Sequence

from nemostack.clients.evaluator import BenchmarkData, EvaluationJob
from nemostack.clients.serving import wait_until_served
from nemostack.errors import JobFailed
from nemostack.models import Model
from workflows.data.rows import Row
from workflows.engine.resumable_job import JobRun
from workflows.engine.stage import Context, Stage
from workflows.results import approach
from workflows.results.approach import Approach, ItemResult
from workflows.results.comparison import interval_text
from workflows.results.prompted import Prompted
from workflows.results.statistics import Estimate
from workflows.settings import Settings
from workflows.stages.customization import Trained
from workflows.stages.earlier_answers import Earlier
from workflows.stages.upload import Uploaded

LABELS = {"zero_shot": "Zero-shot", "in_context": "In-context", "lora": "LoRA", "evaluation": "Evaluation"}
_WITH_EXAMPLES = ("in_context", "evaluation")
_NEEDS = {
    "lora": ("dataset", "customization"),
    "in_context": ("dataset", "prompt"),
    "evaluation": ("dataset", "prompt"),
}


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
        needs=_NEEDS.get(name, ("dataset",)),
        skip=lambda context: _no_examples(context) if name == "in_context" else None,
        summary=_summary,
    )


def _no_examples(context: Context) -> str | None:
    return None if context.settings.shows_examples else "no examples asked for (--shots 0)"


def _summary(approach: Approach) -> str:
    shown = approach.scores.get("rouge_l")
    text = f"ROUGE-L {interval_text(shown)}" if shown else f"{approach.items} items"
    text += f", {approach.reused} of {approach.items} answers reused" if approach.reused else ""
    return f"{text}, {approach.cut} of {approach.items} answers cut" if approach.cut else text


class Answered(Model):
    """The answers of one evaluation with their scores; without items where the Evaluator hands out none.

    `job_id` is of the job that asked, else of the earlier one whose answers are reused; `reused_s`: what those took.
    """

    job_id: str
    items: list[ItemResult]
    scores: dict[str, Estimate]
    reused: int = 0
    reused_s: float = 0.0


def _approach(context: Context, name: str) -> Approach:
    uploaded = context.given("dataset", Uploaded)
    model = _model(context, name)
    prompted = _prompted(context) if name in _WITH_EXAMPLES else None
    own_items = prompted.items_url if prompted else None
    answered = evaluate_items(
        context,
        name,
        model,
        own_items or uploaded.test_url,
        chats=uploaded.chats or own_items is not None,
        settings=context.settings,
        items=min(context.settings.limit, uploaded.facts.splits["test"].rows),
        examples=prompted.examples if prompted and own_items is None else (),
    )
    items = answered.items
    if items:
        context.run.save_samples(name, items)
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
        shots=prompted.shots if prompted else 0,
        job_id=answered.job_id,
        items=len(items) or max(score.n for score in answered.scores.values()),
        per_item=bool(items),
        scores=answered.scores,
        cut=cut,
        reused=answered.reused,
        reused_s=answered.reused_s,
    )


def _prompted(context: Context) -> Prompted | None:
    return context.given("prompt", Prompted) if context.run.stage("prompt").status == "done" else None


def evaluate_items(
    context: Context,
    stage: str,
    model: str,
    items_url: str,
    *,
    chats: bool,
    settings: Settings,
    items: int,
    examples: Sequence[Row] = (),
) -> Answered:
    """Ask a model each item of a file of the Data Store, and score the answers. `chats`: items have their turns."""
    config = approach.config(
        settings,
        context.outputs,
        name=f"{stage}-{context.run_id}",
        test_url=items_url,
        max_tokens=context.given("dataset", Uploaded).max_tokens,
        chats=chats,
        examples=examples,
        judge_key=context.judge_key,
    )
    earlier = Earlier(context, stage, config, model) if settings.reuse else None
    if earlier is not None and not earlier.missing:
        job_id, asked = next(iter(earlier.known.values())).job_id, []
    else:
        job = evaluate(context, stage, config if earlier is None else earlier.of_missing(config), model)
        job_id = job.id
        asked = approach.item_results(context.clients.evaluator.samples(job_id, approach.TASK) or [])
    answers = asked if earlier is None else earlier.completed(asked, job_id)
    if answers:
        scores = approach.estimates_of_items(answers, settings.seed)
    else:
        context.progress.line("  this Evaluator hands out no samples: intervals come from its summary")
        summary = context.clients.evaluator.scores(job_id).get(approach.TASK, {})
        scores = approach.estimates_of_summary(summary, items)
    approach.require_scores(scores, job_id)
    known = {} if earlier is None else earlier.known
    reused_s = sum(one.seconds for one in known.values())
    return Answered(job_id=job_id, items=answers, scores=scores, reused=len(known), reused_s=reused_s)


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
