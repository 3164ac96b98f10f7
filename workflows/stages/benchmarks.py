"""Benchmarks as stages, one for each benchmark and model: the base model before training, the tuned one after it.

No in-context column: the run's examples are legal questions, of another shape than a benchmark's. Each benchmark shows
the examples that lm-eval's task shows by itself (gsm8k five, the others none).
"""

from nemostack.errors import JobFailed
from workflows.engine.stage import Context, Stage
from workflows.results import approach, benchmarks
from workflows.results.approach import ItemResult
from workflows.results.benchmarks import SIDES, BenchmarkComparison, BenchmarkResult, Side
from workflows.results.comparison import interval_text
from workflows.settings import Settings
from workflows.stages.customization import Trained
from workflows.stages.evaluation import evaluate

_MODELS: dict[Side, str] = {"base": "the base model", "tuned": "the tuned model"}


def stage_name(benchmark: str, side: Side) -> str:
    """Name of the stage, and of its samples."""
    return f"benchmark_{benchmark}_{side}"


def of_side(settings: Settings, side: Side) -> list[Stage]:
    """Make the stages of one model, for all benchmarks asked for."""
    return [
        Stage(
            name=stage_name(benchmark, side),
            title=f"Benchmark {benchmark} of {_MODELS[side]}",
            run=lambda context, benchmark=benchmark: _run(context, benchmark, side),  # type: ignore[misc]
            gives=BenchmarkResult,
            needs=("customization",) if side == "tuned" else (),
            summary=_summary,
        )
        for benchmark in settings.benchmarks
    ]


def _run(context: Context, benchmark: str, side: Side) -> BenchmarkResult:
    settings = context.settings
    task, name = benchmarks.task_of(benchmark), stage_name(benchmark, side)
    model = context.given("customization", Trained).model if side == "tuned" else context.outputs.base_model
    config = approach.benchmark_config(settings, task, limit=settings.benchmark_items, shots=None)
    job = evaluate(context, name, config, model)
    evaluator = context.clients.evaluator
    items = benchmarks.items_of(evaluator.samples(job.id, task) or [])
    scores = {key.partition(".")[2]: score for key, score in evaluator.scores(job.id).get(task, {}).items()}
    metric = benchmarks.metric_of(benchmark, list(scores))
    score = None
    if metric is not None:
        score = benchmarks.estimate(metric, items, scores, asked=settings.benchmark_items, seed=settings.seed)
    if metric is None or score is None:
        raise JobFailed(f"evaluation job {job.id} completed without a score of {benchmark}; see the Evaluator's log")
    context.run.save_samples(name, items)
    data = evaluator.benchmark_data(job.id, task)
    return BenchmarkResult(benchmark=benchmark, model=model, job_id=job.id, metric=metric, score=score, data=data)


def _summary(result: BenchmarkResult) -> str:
    text = f"{result.metric} {interval_text(result.score)} of {result.score.n} questions"
    return f"{text}; {result.data.note}" if result.data.note else text


def compared(context: Context) -> list[BenchmarkComparison]:
    """Compare the two models on each benchmark."""
    comparisons = []
    for benchmark in context.settings.benchmarks:
        results = {side: context.given(stage_name(benchmark, side), BenchmarkResult) for side in SIDES}
        items = {side: context.run.load_samples(stage_name(benchmark, side), ItemResult) for side in SIDES}
        comparisons.append(
            benchmarks.compare_benchmark(results["base"], results["tuned"], items, seed=context.settings.seed)
        )
    return comparisons
