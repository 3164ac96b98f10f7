"""`nemostack watch`: the sampled traffic of an alias against what its model was trained and evaluated on."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options as o
from cli.promotion import AliasOption
from nemostack.errors import BadInput

if TYPE_CHECKING:
    from workflows.watch.traffic import Traffic


@o.spread
def watch(
    run: Annotated[Path, typer.Argument(help="Run whose training data and evaluation are compared with.")],
    *,
    target: o.TargetOptions,
    alias: AliasOption = "prod",
    share: Annotated[float, typer.Option("--share", min=0.001, max=1, help="Of the requests that are sampled.")] = 0.05,
    keep: Annotated[int, typer.Option("--keep", min=30, max=1000, help="Sampled requests that NIM holds.")] = 200,
    seconds: Annotated[float, typer.Option("--for", min=0.1, help="Seconds to watch.")] = 3600.0,
    every: Annotated[float, typer.Option("--every", min=0.1, help="Seconds between two readings.")] = 60.0,
    judge: o.JudgeOption = True,
    experiment: o.ExperimentOption = "legal_domain_evaluation",
) -> None:
    """Watch a served model for drift of what it is asked and of how good its answers are (exit 13). Off otherwise."""
    from nemostack.aliases import Sampling
    from nemostack.clients import Clients
    from nemostack.console import Progress
    from workflows.engine.run_directory import RunDirectory
    from workflows.results.approach import judge_key
    from workflows.watch import quality
    from workflows.watch.traffic import Samples
    from workflows.watch.watch import Notes, Plan, Watch, answered_of, probes_of, questions_of

    directory, outputs = RunDirectory.open(run), target.resolve()
    with Progress() as progress, Clients(outputs) as clients:
        if alias not in clients.aliases.aliases():
            raise BadInput(f"there is no alias {alias} on this stack; `nemostack promote {run}` makes one")
        answered = answered_of(directory) if judge else []
        reason = quality.why_not(outputs) if answered else "--no-judge, or the run has no evaluation of a tuned model"
        sampled = not clients.aliases.limits
        if reason and not sampled:
            raise BadInput(
                "only the NIM of the local stack samples what users ask; elsewhere answers to the run's test questions "
                f"are judged, and here they cannot be: {reason}"
            )
        if reason:
            progress.line(f"answers are not judged: {reason}")
        notes = Notes(clients, experiment, directory, alias)
        questions = questions_of(directory, clients) if sampled else None
        if sampled:
            traffic: Traffic = Samples(clients.nim, alias, Sampling(share=share, keep=keep))
            progress.line(f"sampling {100 * share:g} % of {alias} for {seconds:g} s; the texts stay in NIM's memory")
        else:
            traffic = probes_of(directory, clients, alias, answered)
            progress.line(
                f"what users ask is not sampled here: asking {alias} test questions of the run for {seconds:g} s"
            )
        try:
            with nullcontext() if reason else quality.judge_of(outputs, judge_key()) as rate:
                plan = Plan(seconds, every)
                Watch(alias, traffic, questions, answered, plan, rate, notes.add, progress.line).run()
        finally:
            notes.close()
            if notes.problem:
                progress.line(f"warning: {notes.problem}")
    progress.line(f"{alias}: no drift")
