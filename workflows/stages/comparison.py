"""All approaches side by side and what the gate says of the last, in the run directory and in MLflow."""

from nemostack.files import write_atomically
from nemostack.models import Model
from workflows.engine.stage import Context, Stage
from workflows.gate.evidence import of_run
from workflows.gate.policy import read_policy
from workflows.gate.verdict import GateReport
from workflows.results import comparison
from workflows.results.approach import Approach, ItemResult
from workflows.results.compare_runs import decide_last
from workflows.results.mlflow_export import Logged, Tracker
from workflows.stages import benchmarks
from workflows.stages.customization import Trained
from workflows.stages.evaluation import LABELS


class Compared(Model):
    """Outputs of the stage."""

    gate: GateReport | None
    mlflow: Logged


def _run(context: Context) -> Compared:
    done = [context.given(name, Approach) for name in LABELS if context.run.stage(name).status == "done"]
    items = {approach.name: context.run.load_samples(approach.name, ItemResult) for approach in done}
    result = comparison.compare(done, items, seed=context.settings.seed)
    result = result.model_copy(update={"benchmarks": benchmarks.compared(context)})
    write_atomically(context.run.path / "comparison.json", result.model_dump_json(indent=2) + "\n")
    write_atomically(context.run.path / "comparison.csv", comparison.to_csv(result))
    report = decide_last(of_run(context.run), read_policy(context.settings.policy), context.settings.seed)
    if report is not None:
        write_atomically(context.run.path / "gate.json", report.model_dump_json(indent=2) + "\n")
    context.progress.update("logging to MLflow")
    trained = context.given("customization", Trained)
    curves = {
        name: [(point.step, point.value) for point in points]
        for name, points in (("train_loss", trained.train_loss), ("val_loss", trained.val_loss))
    }
    tracker = Tracker(context.outputs.mlflow_url, context.settings.experiment, context.run_id)
    logged = tracker.log(context.settings, trained.hyperparameters, result, report, curves)
    if logged.problem:
        context.progress.line(f"  warning: {logged.problem}")
    return Compared(gate=report, mlflow=logged)


COMPARISON = Stage(
    name="comparison",
    title="Comparison",
    run=_run,
    gives=Compared,
    needs=("zero_shot", "in_context", "customization", "lora"),
    summary=lambda compared: "nothing to decide" if compared.gate is None else compared.gate.outcome,
)
