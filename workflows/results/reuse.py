"""Answers of earlier evaluations, so that an unchanged item is not asked again.

They lie in `answers/` of the folder of runs, a file for each version of a model, a line for each item. An item is
unchanged when all of this is the same: the version of the model (what the server tells of a base model; the content of
an adapter's files), the prompt, the sampling settings, the metrics with their judge, and the version of this program.
Refuses answers that were sampled, items that lack a score which others have, and models whose version nobody tells.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nemostack.clients import Clients
from nemostack.errors import NotFound
from nemostack.models import Model
from nemostack.version import VERSION
from workflows.results.approach import TASK, ItemResult

FOLDER = "answers"
GREEDY = 0.001
"""Up to this temperature an answer counts as the likeliest one: the Evaluator does not take 0."""
_LEFT_OUT = "api_key"


class Kept(Model):
    """An answer with its scores. `seconds`: its share of the time that its job took."""

    key: str
    job_id: str
    seconds: float
    result: ItemResult


class Answers:
    """The answers that one version of a model gave."""

    def __init__(self, runs: Path, version: str) -> None:
        self._file = runs / FOLDER / f"{_digest(version)}.jsonl"

    def read(self) -> dict[str, Kept]:
        """By their keys. A line that a crash cut short, or that another version wrote, is passed over."""
        kept: dict[str, Kept] = {}
        if self._file.exists():
            for line in self._file.read_bytes().split(b"\n"):
                try:
                    one = Kept.model_validate_json(line)
                except ValidationError:
                    continue
                kept[one.key] = one
        return kept

    def add(self, answers: Iterable[Kept]) -> None:
        """Append, all at once: other processes append as well."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab") as file:
            file.write(b"".join(b"\n" + one.model_dump_json().encode() for one in answers) + b"\n")


def version_of(clients: Clients, model: str, base_model: str) -> str | None:
    """Say which weights a model is made of; None where nobody tells."""
    base = clients.nim.version(base_model)
    if model == base_model:
        return base
    try:
        files_url = clients.entity_store.files_url(model)
        content = None if files_url is None else clients.data_store.content(files_url)
    except NotFound:
        return None
    return None if base is None or not content else f"{base}\n{content}"


def keys_of(config: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """Name each item with all that decides its answer and scores, save the model; None where answers are sampled."""
    task = config["tasks"][TASK]
    if task["params"]["template"]["temperature"] > GREEDY:
        return None
    asked = [VERSION, task["type"], task["params"], _without_secrets(task["metrics"])]
    return [_digest(json.dumps([asked, item], sort_keys=True)) for item in items]


def worth_keeping(results: Sequence[ItemResult]) -> list[ItemResult]:
    """Leave out items that lack a score which others have: a judge may be silent once and answer the next time."""
    scores = {key for one in results for key in one.scores}
    return [one for one in results if scores and one.scores.keys() == scores]


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_secrets(one) for key, one in value.items() if key != _LEFT_OUT}
    return [_without_secrets(one) for one in value] if isinstance(value, list | tuple) else value


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
