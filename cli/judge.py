"""`nemostack judge`: a judge is compared with people before its ratings decide anything."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options as o

if TYPE_CHECKING:
    from rich.console import Console

    from workflows.judge.labelled import JudgeReport


@o.spread
def judge(
    sample: Annotated[
        Path,
        typer.Argument(
            metavar="SAMPLE",
            help="File of rated answers: prompt, completion (the ground truth), answer, and rating or any of "
            "faithfulness, relevance, coherence, fluency, helpfulness, from 1 to 5.",
        ),
    ],
    *,
    columns: o.DataColumns,
    output: o.FormatOption = "table",
    target: o.TargetOptions,
) -> None:
    """Compare the stack's judge with people's ratings: agreement, and biases of level, position and length."""
    from cli.dataset import require_format
    from nemostack.clients import Clients
    from nemostack.console import Progress, stdout
    from nemostack.product import require_microservices
    from workflows.data.rows import Columns
    from workflows.judge.labelled import check_judge, read_labelled
    from workflows.results.approach import judge_key

    require_format(output)
    rows = read_labelled(sample, Columns(columns.prompt_column, columns.completion_column))
    outputs = target.resolve()
    require_microservices(outputs, "a judge of rated answers")
    with Progress() as progress, Clients(outputs) as clients:
        report = check_judge(
            rows, clients, sample=sample.name, namespace=columns.namespace, key=judge_key(), progress=progress
        )
    if output == "json":
        stdout().file.write(report.model_dump_json(indent=2) + "\n")
    else:
        _print(stdout(), report)


def _print(console: "Console", report: "JudgeReport") -> None:
    from cli.render import say

    say(console, "criterion\titems\tkappa\tSpearman\texact\twithin 1\tjudge minus people")
    for one in report.agreements:
        kappa = "-" if one.kappa is None else f"{one.kappa:.2f}"
        spearman = "-" if one.spearman is None else f"{one.spearman.value:.2f}"
        shares = [f"{one.exact:.0%}", f"{one.within_one:.0%}", f"{one.level.mean:+.2f}"]
        say(console, "\t".join([one.criterion, str(one.items), kappa, spearman, *shares]))
    for one in report.agreements:
        for concern in one.concerns:
            say(console, f"{one.criterion}: {concern}")
