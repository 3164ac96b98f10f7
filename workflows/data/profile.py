"""`dataset profile`: one offline page about a dataset: findings, distributions of lengths, first words, examples."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from nemostack.report import page
from nemostack.report.svg import Bar, Group, Series, bars, lines
from workflows.data.check import DatasetReport
from workflows.data.rows import Row, normal
from workflows.data.sources import SPLITS, Source

_BINS = 40
_WORDS_SHOWN = 15
_EXAMPLES = 3
_STYLES = {split: style for style, split in enumerate(SPLITS)}


def draw_profile(source: Source, report: DatasetReport) -> str:
    """Render the page."""
    rows = {part.split: [placed.row for placed in part.rows] for part in source.parts if part.rows}
    content: dict[str, Any] = {
        "report": report,
        "legend": [(split, _STYLES.get(split, 2)) for split in rows],
        "prompts": draw_lengths("Lengths of the questions", {s: [len(r.prompt) for r in rs] for s, rs in rows.items()}),
        "completions": draw_lengths(
            "Lengths of the answers", {s: [len(r.completion) for r in rs] for s, rs in rows.items()}
        ),
        "beginnings": draw_beginnings([row for split in rows.values() for row in split]),
        "turns": sorted(Counter(len(row.question) for split in rows.values() for row in split).items()),
        "examples": [row for split in rows.values() for row in split[:1]][:_EXAMPLES],
    }
    return page.render("workflows.data", "profile.html.j2", content)


def draw_lengths(title: str, lengths: dict[str, Sequence[int]]) -> Markup:
    """Draw how the characters of the rows of each split are distributed, as shares of the split."""
    top = max(max(values) for values in lengths.values())
    edges = np.linspace(0, max(top, 1), min(_BINS, max(top, 1)) + 1)
    series = []
    for split, values in lengths.items():
        counts, _ = np.histogram(values, edges)
        points = [(float(edge), 100 * float(count) / len(values)) for edge, count in zip(edges, counts, strict=False)]
        series.append(Series(split, _STYLES.get(split, 2), [*points, (float(edges[-1]), points[-1][1])]))
    return lines(title, series, x_label="characters", y_label="% of rows", steps=True)


def draw_beginnings(rows: Sequence[Row]) -> Markup:
    """Draw the words that most questions begin with: what kinds of questions there are."""
    counts = Counter(_beginnings(rows))
    groups = [
        Group(word, (Bar(2, 100 * count / len(rows), None, None, f"{100 * count / len(rows):.1f} %"),))
        for word, count in counts.most_common(_WORDS_SHOWN)
    ]
    return bars("Words that questions begin with", groups, unit="% of rows", labels_above=True)


def _beginnings(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        last = row.turns[-1].content if row.turns else row.prompt
        yield " ".join(normal(last).split()[:2])
