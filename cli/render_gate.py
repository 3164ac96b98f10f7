"""What the gate says, on stdout: the decision first, then each check, where each model wins, and what it costs."""

from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from cli.render import COLOURS, say, table_of
from workflows.gate.verdict import CandidateVerdict, GateReport

_CHECKS = {"PASS": "green", "FAIL": "red", "UNCLEAR": "yellow"}


def gate_table(console: Console, report: GateReport) -> None:
    """Print it for people; a line per fact where stdout is no terminal."""
    console.print(
        Text.assemble((report.outcome, f"bold {COLOURS[report.outcome]}"), f": {report.reason}."), soft_wrap=True
    )
    for candidate in report.candidates:
        if len(report.candidates) > 1:
            say(console, f"{candidate.outcome}\t{candidate.label}")
        _checks(console, candidate)
        if candidate.wins is not None:
            wins = candidate.wins
            say(
                console,
                f"By {wins.metric}, {candidate.label} wins {wins.candidate} items, {report.baseline_label} "
                f"{wins.baseline}, and {wins.ties} are even.",
            )
        say(console, _cost(candidate))


def _checks(console: Console, candidate: CandidateVerdict) -> None:
    rows = [(check.verdict, check.name, check.asked, check.text) for check in candidate.checks]
    if not console.is_terminal:
        for row in rows:
            say(console, "\t".join(row))
        return
    table = table_of("", "Check", "Asked", "Found")
    for verdict, *cells in rows:
        table.add_row(Text(verdict, style=_CHECKS[verdict]), *map(Text, cells))
    console.print(table)


def _cost(candidate: CandidateVerdict) -> str:
    run, own = candidate.run_cost, candidate.cost
    parts = [f"training {run.training_gpu_hours:.3g} and serving {run.serving_gpu_hours:.3g} GPU hours"]
    parts += [] if run.usd is None else [f"{run.usd:.4g} USD the run"]
    parts += [] if own.usd_per_correct is None else [f"{own.usd_per_correct:.4g} USD a correct answer"]
    parts += [] if own.tokens_per_correct is None else [f"{own.tokens_per_correct:.0f} tokens a correct answer"]
    return f"Cost: {', '.join(parts)} ({run.price})."


def gate_json(console: Console, report: GateReport) -> None:
    """For programs."""
    console.file.write(report.model_dump_json(indent=2) + "\n")


FORMATS: dict[str, Callable[[Console, GateReport], None]] = {"table": gate_table, "json": gate_json}
