"""The guide's eight steps in order, and the shorter plans of `evaluate` and `customize` made of the same stages.

The dataset comes before the first evaluation (the guide has it fourth), because the Evaluator reads the test items
from the Data Store.
"""

from workflows.engine.stage import Context, Stage
from workflows.settings import Settings
from workflows.stages import benchmarks, load_test
from workflows.stages.cleanup import Cleaned, clean
from workflows.stages.comparison import COMPARISON
from workflows.stages.customization import CUSTOMIZATION, Trained
from workflows.stages.environment import ENVIRONMENT
from workflows.stages.evaluation import BENCHMARK, of_model
from workflows.stages.prompt import prompt_stage, trying
from workflows.stages.upload import DATASET
from workflows.sweep.stage import SWEEP


def plan(settings: Settings) -> list[Stage]:
    """List the stages for what is asked."""
    training = CUSTOMIZATION if settings.sweep is None else SWEEP
    if settings.kind == "customize":
        return [ENVIRONMENT, DATASET, training, CLEANUP]
    if settings.kind == "evaluate":
        if settings.benchmark is not None:
            return [ENVIRONMENT, BENCHMARK, CLEANUP]
        return [ENVIRONMENT, DATASET, *_prompt(settings), of_model("evaluation", "Evaluation"), CLEANUP]
    return [
        ENVIRONMENT,
        DATASET,
        of_model("zero_shot", "Zero-shot evaluation"),
        *_prompt(settings),
        of_model("in_context", "In-context evaluation"),
        *benchmarks.of_side(settings, "base"),
        training,
        of_model("lora", "Evaluation of the tuned model"),
        *benchmarks.of_side(settings, "tuned"),
        *([_LOAD_TEST] if settings.load_slo else []),
        COMPARISON,
        CLEANUP,
    ]


def _prompt(settings: Settings) -> list[Stage]:
    return [*map(trying, settings.choose_shots), prompt_stage(settings.choose_shots)]


def _load_test(context: Context) -> load_test.LoadTested:
    return load_test.run(context, context.given("customization", Trained).model)


def _cleaned_up(cleaned: Cleaned) -> str:
    summary = f"{len(cleaned.removed)} thing(s) removed"
    return f"{summary}, adapter {', '.join(cleaned.kept)} kept: NIM goes on serving it" if cleaned.kept else summary


_LOAD_TEST = Stage(
    name="load_test",
    title="Load test",
    run=_load_test,
    gives=load_test.LoadTested,
    needs=("customization",),
    summary=lambda tested: tested.line,
)
CLEANUP = Stage(name="cleanup", title="Cleanup", run=clean, gives=Cleaned, summary=_cleaned_up)
