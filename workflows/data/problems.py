"""What is wrong with the records of a file: where, and why, many alike told as one."""

from collections.abc import Sequence
from dataclasses import dataclass

PROBLEMS_SHOWN = 10
_LINES_SHOWN = 5


@dataclass(frozen=True)
class Problem:
    """A reason why a record cannot be used, and the line (of a table: the row) that it is about; 0: the whole file."""

    file: str
    line: int
    text: str


def list_problems(problems: Sequence[Problem], *, at_most: int = PROBLEMS_SHOWN) -> list[str]:
    """List the problems; those of several lines that are alike are one."""
    lines_of: dict[tuple[str, str], list[int]] = {}
    for problem in problems:
        lines_of.setdefault((problem.file, problem.text), []).append(problem.line)
    entries = [
        f"{file}: {text}" if lines == [0] else f"{file} {name_lines(lines)}: {text}"
        for (file, text), lines in lines_of.items()
    ]
    rest = len(entries) - at_most
    return [*entries[:at_most], *([f"and {rest} more kinds"] if rest > 0 else [])]


def name_lines(lines: Sequence[int]) -> str:
    """Write `line 4`, or `lines 4, 7, 9, 12, 13 and 8 more`."""
    shown = ", ".join(map(str, lines[:_LINES_SHOWN]))
    more = f" and {len(lines) - _LINES_SHOWN} more" if len(lines) > _LINES_SHOWN else ""
    return f"line{'s' if len(lines) > 1 else ''} {shown}{more}"
