"""`dataset check`: everything that can be known of a dataset before a GPU is spent on it, and what to do about it.

A finding is `bad` where the dataset cannot be used as it is or its scores would mean nothing, `warn` where that is for
the reader to judge. Nothing is changed.
"""

from collections.abc import Sequence

from nemostack.errors import BadInput
from nemostack.models import Model
from nemostack.service_checks import Finding
from workflows.data.lengths import CountTokens, Spread, Tokens, characters, measure
from workflows.data.overlap import Duplicates, Leak, find_duplicates, find_leaks
from workflows.data.problems import list_problems, name_lines
from workflows.data.rows import content_hash
from workflows.data.sources import ALL, SPLITS, Part, Source

DEVELOP, VALIDATE, DECIDE = 50, 200, 1000
"""Test items that the guide asks for: to develop, to validate, and to decide on what goes into production."""
_PROBLEM_KINDS = 5


class SplitReport(Model):
    """One split. `dropped` lists why records cannot be used, with their lines."""

    split: str
    file: str
    format: str
    encoding: str
    byte_order_mark: bool
    read: int
    rows: int
    dropped: list[str]
    duplicates: Duplicates
    prompt: Spread | None
    completion: Spread | None
    tokens: Tokens | None


class DatasetReport(Model):
    """All of it. `sha256` is of what the rows say, not of how they are written."""

    name: str
    revision: str
    sha256: str
    splits: list[SplitReport]
    leaks: list[Leak]
    findings: list[Finding]

    @property
    def bad(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "bad"]


class Tokenizer(Model):
    """The server whose tokenizer is asked, and the longest chat that it takes."""

    model: str
    context: int | None


def check(
    source: Source, *, tokenizer: Tokenizer | None = None, count: CountTokens = lambda _chat: None, near: bool = True
) -> DatasetReport:
    """Look at all of a source. BadInput where not one row can be used."""
    if not any(part.rows for part in source.parts):
        listing = "\n".join(f"  {line}" for line in list_problems(source.problems))
        raise BadInput(f"{source.name} has no row that can be used, {len(source.problems)} problem(s):\n{listing}")
    splits = [_split(part, tokenizer, count, near=near) for part in source.parts]
    leaks = find_leaks({part.split: part.rows for part in source.parts}, near=near)
    return DatasetReport(
        name=source.name,
        revision=source.revision,
        sha256=content_hash({part.split: [placed.row for placed in part.rows] for part in source.parts}),
        splits=splits,
        leaks=leaks,
        findings=[
            *(finding for split in splits for finding in _of_split(split, tokenizer)),
            *_of_leaks(leaks),
            *_of_sizes(splits),
        ],
    )


def size_advice(items: int) -> str:
    """Say what a test split of so many items is good for, by the guide's sizes."""
    if items < DEVELOP:
        return f"{items} test items: too few even to develop with ({DEVELOP} to 100); intervals will be wide"
    if items < VALIDATE:
        return f"{items} test items: enough to develop with; to validate take {VALIDATE} to 500, to decide {DECIDE:,}"
    if items < DECIDE:
        return f"{items} test items: enough to validate; to decide on production take {DECIDE:,} and more"
    return f"{items} test items: enough to decide on production"


def _split(part: Part, tokenizer: Tokenizer | None, count: CountTokens, *, near: bool) -> SplitReport:
    rows = [placed.row for placed in part.rows]
    prompt, completion = characters(rows) if rows else (None, None)
    return SplitReport(
        split=part.split,
        file=part.contents.file,
        format=part.contents.format,
        encoding=part.contents.encoding,
        byte_order_mark=part.contents.mark,
        read=part.read,
        rows=len(rows),
        dropped=list_problems(part.problems, at_most=_PROBLEM_KINDS),
        duplicates=find_duplicates(part.rows, near=near),
        prompt=prompt,
        completion=completion,
        tokens=measure(part.rows, count, context=tokenizer.context) if tokenizer else None,
    )


def _of_split(split: SplitReport, tokenizer: Tokenizer | None) -> list[Finding]:
    lost = split.read - split.rows
    found = [_encoding(split)] if split.encoding else []
    found.append(
        Finding(
            service=split.split,
            check="rows",
            level="bad" if lost else "ok",
            evidence=f"{split.rows} of {split.read} can be used" + "".join(f"; {line}" for line in split.dropped),
            fix="correct them, or leave them out with `nemostack dataset convert`" if lost else "",
        )
    )
    found += _of_duplicates(split)
    if tokenizer is not None:
        found.append(_of_tokens(split, tokenizer))
    return found


def _encoding(split: SplitReport) -> Finding:
    mark = " with a byte order mark" if split.byte_order_mark else ""
    plain = split.encoding == "UTF-8" and not mark
    return Finding(
        service=split.split,
        check="encoding",
        level="ok" if plain else "warn",
        evidence=f"{split.file}: {split.encoding}{mark}",
        fix="" if plain else "it is read well here; `nemostack dataset convert` makes plain UTF-8 for other programs",
    )


def _of_duplicates(split: SplitReport) -> list[Finding]:
    found = []
    for what, pairs in (("duplicates", split.duplicates.exact), ("near-duplicates", split.duplicates.near)):
        evidence = f"{len(pairs)} row(s): {name_lines(sorted(pairs))}" if pairs else "none"
        fix = "they count twice in training and in scores; `nemostack dataset convert` keeps the first of each"
        if what == "near-duplicates":
            fix = "look at some of them; `nemostack dataset split` keeps them on one side"
        found.append(
            Finding(
                service=split.split,
                check=what,
                level="warn" if pairs else "ok",
                evidence=evidence,
                fix=fix if pairs else "",
            )
        )
    return found


def _of_tokens(split: SplitReport, tokenizer: Tokenizer) -> Finding:
    if split.tokens is None:
        return Finding(
            service=split.split,
            check="lengths",
            level="warn",
            evidence=f"NIM offers no tokenizer for {tokenizer.model} (POST /tokenize)",
            fix="lengths were not compared with the context",
        )
    spread, over = split.tokens.spread, split.tokens.over
    evidence = f"median {spread.median}, 95 % up to {spread.p95}, longest {spread.most} tokens"
    evidence += f" of {split.tokens.counted} rows" if split.tokens.counted < split.rows else ""
    if split.tokens.context is not None:
        evidence += f"; the context of {tokenizer.model} is {split.tokens.context}"
    evidence += f"; too long: {name_lines(over)}" if over else ""
    return Finding(
        service=split.split,
        check="lengths",
        level="bad" if over else "ok",
        evidence=evidence,
        fix="shorten or leave them out: training would cut them, NIM would refuse them" if over else "",
    )


def _of_leaks(leaks: Sequence[Leak]) -> list[Finding]:
    found = []
    for leak in leaks:
        where = f"{leak.of} and {leak.into}"
        if leak.exact:
            asked = name_lines(sorted(set(leak.exact.values())))
            lines = f"{leak.of} {name_lines(sorted(leak.exact))}, {leak.into} {asked}"
            found.append(
                Finding(
                    service=where,
                    check="leakage",
                    level="bad" if (leak.of, leak.into) == ("train", "test") else "warn",
                    evidence=f"{len(leak.exact)} question(s) stand in both: {lines}",
                    fix="`nemostack dataset convert` takes them out of the training data; scores on them mean nothing",
                )
            )
        if leak.near:
            found.append(
                Finding(
                    service=where,
                    check="near-leakage",
                    level="warn",
                    evidence=f"{len(leak.near)} nearly the same question(s): {leak.of} {name_lines(sorted(leak.near))}",
                    fix="`nemostack dataset split` on the whole data keeps them on one side",
                )
            )
    return found


def _of_sizes(splits: Sequence[SplitReport]) -> list[Finding]:
    rows = {split.split: split.rows for split in splits}
    if ALL in rows:
        return [
            Finding(
                service=ALL,
                check="splits",
                level="warn",
                evidence=f"{rows[ALL]} rows in one piece",
                fix="`nemostack dataset split` makes train, validation and test of them",
            )
        ]
    missing = [split for split in SPLITS if not rows.get(split)]
    found = [
        Finding(
            service=split,
            check="splits",
            level="bad",
            evidence="is missing or empty",
            fix="a run needs train, validation and test: `nemostack dataset split` makes them of one",
        )
        for split in missing
    ]
    if "test" not in missing:
        items = rows["test"]
        found.append(
            Finding(
                service="test", check="size", level="ok" if items >= VALIDATE else "warn", evidence=size_advice(items)
            )
        )
    return found
