"""The answers that an evaluation need not ask for, since an earlier run did, and the items that are left to ask.

Where all are left, the evaluation is as without it; else those left are uploaded as a file of their own. What is asked
is written down before the job starts: a job that is picked up again after an interruption is read by the same list.
"""

import json
import time
from typing import Any

from nemostack.errors import ServiceError
from workflows.data.rows import json_lines
from workflows.engine.stage import Context
from workflows.results.approach import TASK, ItemResult
from workflows.results.reuse import Answers, Kept, keys_of, version_of, worth_keeping


class Earlier:
    """Of one evaluation. `known`: kept answers by the item's place; `missing`: places of the items to ask."""

    def __init__(self, context: Context, stage: str, config: dict[str, Any], model: str) -> None:
        self._context, self._stage = context, stage
        self._began = time.monotonic()
        dataset = config["tasks"][TASK]["dataset"]
        self._folder, self._items = _items(context, dataset["files_url"], dataset["limit"])
        self._keys = keys_of(config, self._items)
        version = None if self._keys is None else version_of(context.clients, model, context.outputs.base_model)
        self._answers = None if version is None else Answers(context.run.path.parent, version)
        kept = {} if self._answers is None else self._answers.read()
        known = {n: kept[key] for n, key in enumerate(self._keys or ()) if key in kept}
        self.missing = self._asked_before(known) or [n for n in range(len(self._items)) if n not in known]
        self.known = {n: one for n, one in known.items() if n not in set(self.missing)}

    def _asked_before(self, known: dict[int, Kept]) -> list[int]:
        """Tell what the job of an interrupted stage was given; nothing where it has none, or needs other answers."""
        notes = self._context.notes
        asked: list[int] = notes.get("asked", [])
        going = notes.get("job_id") or notes.get("starting")
        if not going:
            return []
        if set(range(len(self._items))) - set(asked) <= set(known):
            return asked
        self._context.note(job_id=None, starting=False)
        return []

    def of_missing(self, config: dict[str, Any]) -> dict[str, Any]:
        """Change the config of an evaluation so that it asks what is left."""
        self._context.note(asked=self.missing)
        if not self.known:
            return config
        count = f"{len(self.known)} of {len(self._items)}"
        self._context.progress.line(f"  {count} answers are reused: same model, prompt, sampling and metrics")
        repo, path = self._folder, f"testing/{self._stage}_missing.jsonl"
        lines = json_lines(self._items[n] for n in self.missing)
        message = f"nemostack run {self._context.run_id}: {self._stage}, what is left to ask"
        self._context.clients.data_store.upload(repo, {path: lines}, message=message)
        left = {"files_url": f"hf://datasets/{repo}/{path}", "limit": len(self.missing)}
        return config | {"tasks": {TASK: config["tasks"][TASK] | {"dataset": left}}}

    def completed(self, asked: list[ItemResult], job_id: str) -> list[ItemResult]:
        """Join what was asked to what was known, in the order of the items; keeps the former for later runs."""
        if not asked and not self.known:
            return []  # an Evaluator without samples
        if len(asked) != len(self.missing):
            raise ServiceError(
                f"evaluation job {job_id} handed out {len(asked)} of {len(self.missing)} samples, and the other "
                "items come from earlier runs; run again with --no-reuse"
            )
        placed = [
            one.model_copy(update={"index": n})
            for n, one in zip(self.missing, sorted(asked, key=lambda one: one.index), strict=True)
        ]
        if self._answers is not None and self._keys is not None and placed:
            share = (time.monotonic() - self._began) / len(placed)
            self._answers.add(
                Kept(key=self._keys[one.index], job_id=job_id, seconds=share, result=one)
                for one in worth_keeping(placed)
            )
        reused = [one.result.model_copy(update={"index": n}) for n, one in self.known.items()]
        return sorted([*placed, *reused], key=lambda one: one.index)


def _items(context: Context, files_url: str, limit: int) -> tuple[str, list[dict[str, Any]]]:
    """Read the items as the Evaluator sees them, and say in which repository they are."""
    namespace, name, path = files_url.removeprefix("hf://datasets/").split("/", 2)
    text = context.clients.data_store.read(f"{namespace}/{name}", path).decode("utf-8")
    return f"{namespace}/{name}", [json.loads(line) for line in text.split("\n") if line.strip()][:limit]
