"""The sweep as a stage, in the place of the one LoRA job: its outputs are those of the winner's job.

What follows in the run, the evaluation on the test items above all, therefore happens once, for the winner alone, which
the validation loss has chosen. The adapters of the others are taken off the stack when the search has ended.
"""

from nemostack.clients.customizer import CustomizationJob
from nemostack.errors import JobFailed
from nemostack.models import Hyperparameters
from workflows.engine.stage import Context, Stage
from workflows.stages.customization import Trained, model_gone
from workflows.stages.upload import Uploaded
from workflows.sweep.live import LiveCurves
from workflows.sweep.search import Search
from workflows.sweep.space import Choice
from workflows.sweep.trial import (
    TrialResult,
    Watch,
    context_of,
    describe,
    hyperparameters_of,
    results_of,
    run_trial,
    winner_of,
)


def _run(context: Context) -> Trained:
    sweep = context.settings.sweep
    assert sweep is not None
    search = Search(sweep, context.settings.seed)
    results = results_of(context.run)
    for result in results:
        losses = [point.value for point in result.val_loss]
        search.replay(result.choice, losses, ended=result.ended)
    with LiveCurves(context.outputs.mlflow_url, context.settings.experiment, context.run_id) as live:
        while len(results) < sweep.count:
            results.append(_trial(context, search, live, results))
        winner = winner_of(results)
        if winner is None:
            reasons = "; ".join(f"trial {result.number}: {result.reason}" for result in results[-3:])
            raise JobFailed(f"no trial of the sweep has completed ({reasons}); start another sweep with --new")
        live.choose(winner)
        if live.problem:
            context.progress.line(f"  warning: {live.problem}")
    context.progress.line(f"  trial {winner.number} wins: {winner.choice}, validation loss {winner.loss:.4f}")
    _drop_losers(context, results, winner)
    assert winner.model is not None
    assert winner.job_id is not None
    asked = hyperparameters_of(context, winner.choice, context.given("dataset", Uploaded))
    return Trained(
        job_id=winner.job_id,
        model=winner.model,
        steps=winner.steps,
        train_loss=winner.train_loss,
        val_loss=winner.val_loss,
        hyperparameters={**asked.model_dump(exclude_none=True), **winner.hyperparameters},
        left=[name for name in Hyperparameters.model_fields if getattr(asked, name) is None],
    )


def _trial(context: Context, search: Search, live: LiveCurves, before: list[TrialResult]) -> TrialResult:
    sweep, number = context.settings.sweep, len(before) + 1
    assert sweep is not None
    own = context_of(context, number)
    known = own.notes.get("choice")
    attempt = search.next(None if known is None else Choice.model_validate(known))
    best = min((result.loss for result in before if result.ended == "completed" and result.loss), default=None)
    so_far = "" if best is None else f", best so far {best:.3f}"
    head = f"trial {number} of {sweep.count}, {attempt.choice}"
    context.progress.line(f"  {head}{so_far}")
    live.start(number, attempt.choice)

    def show(job: CustomizationJob) -> None:
        live.report(number, job.train_loss, job.val_loss)
        context.progress.update(f"{head}: {describe(job, attempt.choice.epochs)}{so_far}")

    result = run_trial(own, number, Watch(attempt, show), context.given("dataset", Uploaded))
    search.end(attempt, [point.value for point in result.val_loss], ended=result.ended)
    live.report(number, result.train_loss, result.val_loss)
    live.end(number, result)
    loss = "" if result.loss is None else f", validation loss {result.loss:.4f}"
    context.progress.line(f"  trial {number} {result.ended}{loss}{f': {result.reason}' if result.reason else ''}")
    return result


def _drop_losers(context: Context, results: list[TrialResult], winner: TrialResult) -> None:
    """Take the other adapters off the stack, where NIM would go on serving them."""
    for result in results:
        if result.model is not None and result.number != winner.number:
            context.clients.models.delete_model(result.model)


SWEEP = Stage(
    name="customization",
    title="Sweep of LoRA customizations",
    run=_run,
    gives=Trained,
    needs=("dataset",),
    gone=model_gone,
    summary=lambda trained: f"model {trained.model}, {trained.how}",
)
