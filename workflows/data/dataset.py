"""The dataset of a run: a folder with a file for each of train, validation and test, read, checked, described.

Rows are what `rows` reads, files what `formats` reads. Every problem is reported with its file and lines, all of them
at once: a run drops nothing (`dataset convert` does, and says what). A run that trains refuses a question that it would
both train on and test on; duplicates and small test splits are counted and warned of.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nemostack.errors import BadInput
from nemostack.models import Model
from workflows.data.check import VALIDATE, size_advice
from workflows.data.formats import SUFFIXES
from workflows.data.overlap import exact_duplicates, shared_questions
from workflows.data.problems import Problem, list_problems, name_lines
from workflows.data.rows import Columns, Row, content_hash
from workflows.data.sources import SPLITS, Part, Placed, Reading, find_splits, read_source
from workflows.settings import Settings

_ASKED = 8  # references whose tokens the server counts, the longest in bytes
_MOST_TOKENS = 1024  # leaves room for the prompt in the context of a small server


class SplitFacts(Model):
    """What a split looks like. Lengths in characters."""

    rows: int
    duplicates: int
    mean_prompt: float
    mean_completion: float
    longest_completion: int
    sha256: str


class DatasetFacts(Model):
    """What the dataset looks like. `sha256` is of what the rows say that are used."""

    name: str
    splits: dict[str, SplitFacts]
    leaked: int
    warnings: list[str]
    sha256: str = ""


@dataclass(frozen=True)
class Dataset:
    """All rows in the order of their files, and what is to be said about them."""

    train: tuple[Row, ...]
    validation: tuple[Row, ...]
    test: tuple[Row, ...]
    facts: DatasetFacts

    @property
    def chats(self) -> bool:
        """Whether test items are more than a question each, and are asked as chats of several turns."""
        return any(row.turns for row in self.test)

    def max_tokens(self, count_tokens: Callable[[str], int | None] = lambda _text: None) -> int:
        """Room for the longest reference and a quarter more: a multiple of 16, from 32 to 1024.

        `count_tokens` is the server's tokenizer, and answers None where the server has none to ask. Then two bytes of
        UTF-8 count as a token, which is generous for every script; characters would not be: one of Hangul may be more
        than a token.
        """
        rows = {row.completion for split in (self.train, self.validation, self.test) for row in split}
        longest = sorted(rows, key=lambda text: len(text.encode()), reverse=True)[:_ASKED]
        counts = [count_tokens(text) for text in longest[:1]]
        counts += [count_tokens(text) for text in longest[1:]] if counts != [None] else []
        known = [count for count in counts if count is not None]
        tokens = max(known) * 5 // 4 if known else len(longest[0].encode()) // 2
        return min(_MOST_TOKENS, max(32, -(-(tokens + 8) // 16) * 16))


def digest(settings: Settings) -> str:
    """Of the files as they are, without judging them; '' when one is missing (reading will say so)."""
    total = hashlib.sha256()
    try:
        files = find_splits(settings.dataset)
        for split in SPLITS:
            total.update(hashlib.sha256(files[split].read_bytes()).digest())
    except (OSError, KeyError, BadInput):
        return ""
    return total.hexdigest()


def load(settings: Settings) -> Dataset:
    """Read and check the dataset folder. BadInput lists what is wrong, line by line."""
    if not settings.dataset.is_dir():
        raise BadInput(f"dataset {settings.dataset} is not a directory; expected one with {_files()}")
    columns = Columns(settings.prompt_column, settings.completion_column)
    parts = read_source(str(settings.dataset), Reading(columns)).splits
    problems = [problem for part in parts.values() for problem in part.problems]
    problems += [Problem(split, 0, f"is missing; expected {_files()}") for split in SPLITS if split not in parts]
    if problems:
        listing = "\n".join(f"  {line}" for line in list_problems(problems))
        raise BadInput(f"dataset {settings.dataset} cannot be used, {len(problems)} problem(s):\n{listing}")
    placed = {split: parts[split].rows for split in SPLITS}
    placed["train"] = placed["train"][: settings.train_rows]
    placed["validation"] = placed["validation"][: settings.validation_rows]
    leaked = _refuse_leaks(settings, placed, parts)
    rows = {split: tuple(one.row for one in placed[split]) for split in SPLITS}
    return Dataset(
        train=rows["train"],
        validation=rows["validation"],
        test=rows["test"],
        facts=_facts(settings, placed, parts, leaked),
    )


def _files() -> str:
    return f"{', '.join(SPLITS)}, each a file ending in {', '.join(SUFFIXES)}"


def _refuse_leaks(settings: Settings, placed: dict[str, list[Placed]], parts: dict[str, Part]) -> int:
    """Return how many training rows ask a test question. BadInput when the run would train on them."""
    shared = shared_questions(placed["train"], placed["test"])
    if shared and settings.kind != "evaluate":
        train, test = (parts[split].contents.file for split in ("train", "test"))
        lines = name_lines([placed["train"][number].line for number in shared])
        asked = name_lines(sorted({placed["test"][number].line for number in shared.values()}))
        raise BadInput(
            f"dataset {settings.dataset}: {len(shared)} question(s) of {test} ({asked}) also stand in {train} ({lines})"
            ": the run would test on what it was trained on, and its scores would mean nothing; `nemostack dataset "
            f"convert {settings.dataset} --out DIR` takes them out of the training data"
        )
    return len(shared)


def _facts(settings: Settings, placed: dict[str, list[Placed]], parts: dict[str, Part], leaked: int) -> DatasetFacts:
    warnings, splits = [], {}
    for split, items in placed.items():
        file = parts[split].contents.file
        duplicates = len(exact_duplicates(items))
        if duplicates:
            warnings.append(f"{file}: {duplicates} duplicate row(s)")
        splits[split] = SplitFacts(
            rows=len(items),
            duplicates=duplicates,
            mean_prompt=_mean([len(one.row.prompt) for one in items]),
            mean_completion=_mean([len(one.row.completion) for one in items]),
            longest_completion=max(len(one.row.completion) for one in items),
            sha256=hashlib.sha256((settings.dataset / file).read_bytes()).hexdigest(),
        )
    test = parts["test"].contents.file
    if leaked:
        warnings.append(f"{test}: {leaked} question(s) also stand in the training data; none is shown as an example")
    for_validation = len(shared_questions(placed["validation"], placed["test"]))
    if for_validation:
        warnings.append(f"{test}: {for_validation} question(s) also stand in the validation data, which chooses")
    tested = min(settings.limit, len(placed["test"]))
    if len(placed["test"]) < settings.limit:
        warnings.append(f"{test} has {len(placed['test'])} rows, fewer than the {settings.limit} asked for")
    elif tested < VALIDATE:
        warnings.append(size_advice(tested))
    name = re.sub(r"[^a-z0-9]+", "-", settings.dataset.resolve().name.lower()).strip("-")[:32] or "dataset"
    sha256 = content_hash({split: [one.row for one in items] for split, items in placed.items()})
    return DatasetFacts(name=name, splits=splits, leaked=leaked, warnings=warnings, sha256=sha256)


def _mean(lengths: Sequence[int]) -> float:
    return sum(lengths) / len(lengths)
