"""The report of a migration as HTML, JSON and Markdown."""

from pathlib import Path

from nemostack.files import write_atomically
from nemostack.report import page
from operations.migration.migrate import Report, Row


def write(report: Report, folder: Path) -> None:
    """Replace report.html, report.json and report.md."""
    folder.mkdir(parents=True, exist_ok=True)
    html = page.render("operations.migration", "report.html.j2", {"report": report, "summary": summary(report)})
    write_atomically(folder / "report.html", html)
    write_atomically(folder / "report.json", report.model_dump_json(indent=2) + "\n")
    write_atomically(folder / "report.md", as_markdown(report))


def summary(report: Report) -> str:
    """Say in one line how it went."""
    if report.dry_run:
        return f"{report.count('would move')} things would be moved, {report.count('no counterpart')} cannot be"
    moved = report.count("moved") + report.count("moved before")
    parts = [f"{moved} things are on the platform", f"{report.count('no counterpart')} have no counterpart"]
    parts += [f"{len(report.failed)} failed"] if report.failed else []
    same = f"{report.compared} files compared by SHA-256"
    parts.append(f"{same}, {len(report.differing)} differ" if report.differing else f"{same}, all the same")
    return ", ".join(parts)


def as_markdown(report: Report) -> str:
    """For a pull request or a ticket."""
    rows = [_cells(row) for row in report.rows]
    table = [("", "From", "To", "Result", "Files", "Notes"), ("---",) * 6, *rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in table]
    head = f"# Migration to the NeMo Platform\n\n{report.source} to {report.target}: {summary(report)}.\n"
    left = ["## Not moved\n", *(f"- {one}" for one in report.not_moved)]
    wrong = ["## Files that differ\n", *(f"- {one}" for one in report.differing), ""] if report.differing else []
    return "\n".join([head, *lines, "", *wrong, *left, ""])


def _cells(row: Row) -> tuple[str, ...]:
    return row.kind, row.source, row.target, row.result, str(row.files or ""), "; ".join(row.notes)
