"""Results on stdout: tables for people, JSON and CSV for programs. Knows nothing of how they came about."""

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nemostack.redact import redact
from nemostack.service_checks import Finding
from operations.teardown.teardown import Plan, Report
from workflows.engine.run_directory import RunDirectory
from workflows.results.approach import Approach
from workflows.results.benchmarks import BenchmarkComparison
from workflows.results.comparison import Comparison, interval_text, to_csv
from workflows.results.metrics import METRICS

COLOURS = {"ok": "green", "warn": "yellow", "bad": "red", "GO": "green", "NO-GO": "red", "INCONCLUSIVE": "yellow"}


def findings(console: Console, found: Sequence[Finding], *, about: str = "Service") -> None:
    """Print a line per check; `about` is what each is of."""
    if not console.is_terminal:
        for finding in found:
            say(console, f"{finding.level}\t{finding.line}")
        return
    table = table_of("", about, "Check", "Evidence", "What to do")
    for finding in found:
        table.add_row(
            Text(finding.level, style=COLOURS[finding.level]),
            finding.service,
            finding.check,
            Text(redact(finding.evidence)),
            Text(finding.fix),
        )
    console.print(table)


def as_json(finding: Finding) -> dict[str, str]:
    """Return a finding for programs."""
    return {name: redact(str(value)) for name, value in finding.model_dump().items()}


def leftovers(console: Console, report: Report) -> None:
    """Print what is left of a stack, a line each, and how to remove it."""
    if not report.cluster_seen:
        say(
            console,
            "The cluster is gone. What it may have left in the cloud:" if report.left else "The cluster is gone.",
        )
    rows = [("kept" if one.on_purpose else "left", one.kind, one.where, one.detail, one.remove) for one in report.left]
    if not rows:
        say(console, f"Nothing is left of stack {report.stack}.")
    elif not console.is_terminal:
        for row in rows:
            say(console, "\t".join(row))
    else:
        table = table_of("", "Kind", "Name", "Details", "To remove it")
        for state, *cells in rows:
            table.add_row(Text(state, style="dim" if state == "kept" else "yellow"), *map(Text, cells))
        console.print(table)


def teardown_plan(console: Console, plan: Plan) -> None:
    """Print what a teardown would do."""
    steps = {
        "stop": plan.stops,
        "uninstall release": plan.releases,
        "delete namespace": plan.namespaces,
        "keep volume": plan.retains,
        "delete volume with its data": plan.deletes,
    }
    for step, things in steps.items():
        for thing in things:
            say(console, f"{step}\t{thing}")


def trials(console: Console, run: RunDirectory) -> None:
    """Print the trials of a sweep, the best first."""
    from workflows.sweep.trial import results_of

    results = sorted(results_of(run), key=lambda one: (one.ended != "completed", one.loss or 0.0, one.number))
    rows = [
        (
            *(str(one.number), f"{one.choice.adapter_dim}", f"{one.choice.learning_rate:.3g}", f"{one.choice.epochs}"),
            "-" if one.loss is None else f"{one.loss:.4f}",
            f"{one.seconds:.0f} s",
            f"{one.ended}{f': {one.reason}' if one.reason else ''}",
        )
        for one in results
    ]
    names = ("Trial", "Rank", "Learning rate", "Epochs", "Validation loss", "Time", "")
    if not console.is_terminal:
        for row in (names, *rows):
            say(console, "\t".join(row))
        return
    table = table_of(*names)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def finished(console: Console, run: RunDirectory) -> None:
    """Print the result of `run`."""
    from workflows.stages.cleanup import Cleaned

    comparison = Comparison.model_validate_json((run.path / "comparison.json").read_text())
    comparison_table(console, comparison)
    say(console, f"Report: {run.path / 'report.html'}")
    cleaned = Cleaned.model_validate(run.stage("cleanup").outputs)
    if cleaned.kept:
        say(console, f"Adapter kept, NIM serves it: {', '.join(cleaned.kept)}")
    else:
        say(console, "The adapter was removed from the stack; --keep-adapter leaves it there.")


def evaluated(console: Console, run: RunDirectory) -> None:
    """Print the result of `evaluate`."""
    from workflows.stages.evaluation import Benchmarked

    record = run.stage("benchmark")
    if record.status == "done":
        benchmarked = Benchmarked.model_validate(record.outputs)
        for name, value in benchmarked.scores.items():
            say(console, f"{name}\t{value:.4f}")
        if benchmarked.data.note:
            say(console, f"Note: {benchmarked.data.note}")
    else:
        approach = Approach.model_validate(run.stage("evaluation").outputs)
        _scores(console, [approach])
    say(console, f"Run: {run.path}")


def customized(console: Console, run: RunDirectory) -> None:
    """Print the result of `customize`."""
    from workflows.stages.customization import Trained

    trained = Trained.model_validate(run.stage("customization").outputs)
    say(console, f"Model: {trained.model}")
    if trained.val_loss:
        say(console, f"Validation loss: {trained.val_loss[0].value:.3f} -> {trained.val_loss[-1].value:.3f}")
    say(console, f"NIM serves it shortly; evaluate it with `nemostack evaluate --model {trained.model}`")
    say(console, f"Run: {run.path}; `nemostack cleanup {run.path}` removes the model again")


def comparison_table(console: Console, comparison: Comparison) -> None:
    """Scores, then benchmarks."""
    _scores(console, comparison.approaches)
    if comparison.benchmarks:
        _benchmarks(console, comparison.benchmarks)


def comparison_json(console: Console, comparison: Comparison) -> None:
    console.file.write(comparison.model_dump_json(indent=2) + "\n")


def comparison_csv(console: Console, comparison: Comparison) -> None:
    """Write a line per approach and metric."""
    console.file.write(to_csv(comparison))


FORMATS: dict[str, Callable[[Console, Comparison], None]] = {
    "table": comparison_table,
    "json": comparison_json,
    "csv": comparison_csv,
}


def _scores(console: Console, approaches: Sequence[Approach]) -> None:
    shown = [metric for metric in METRICS if any(metric.key in approach.scores for approach in approaches)]
    cells = [
        [interval_text(a.scores[metric.key]) if metric.key in a.scores else "-" for a in approaches] for metric in shown
    ]
    if not console.is_terminal:
        say(console, "\t".join(["metric", *(approach.label for approach in approaches)]))
        for metric, row in zip(shown, cells, strict=True):
            say(console, "\t".join([metric.label, *row]))
        return
    table = table_of("Metric", *(f"{approach.label} ({approach.items} items)" for approach in approaches))
    for metric, row in zip(shown, cells, strict=True):
        table.add_row(metric.label, *map(Text, row))
    console.print(table)


def _benchmarks(console: Console, benchmarks: Sequence[BenchmarkComparison]) -> None:
    names = ("Benchmark", "Base model", "Tuned model", "Tuned minus base", "")
    rows: list[tuple[str, ...]] = [
        (b.label, interval_text(b.base), interval_text(b.tuned), interval_text(b.difference, signed=True), b.verdict)
        for b in benchmarks
    ]
    if console.is_terminal:
        table = table_of(*names)
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
    else:
        for row in (names, *rows):
            say(console, "\t".join(row))
    for benchmark in benchmarks:
        if benchmark.data.note:
            say(console, f"Note: {benchmark.data.note}")


def table_of(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column)
    return table


def say(console: Console, text: str) -> None:
    if console.is_terminal:
        console.print(Text(redact(text)), soft_wrap=True)
    else:
        console.file.write(f"{redact(text)}\n")  # as it is: rich would expand the tabs
