"""lm-eval's index of its tasks, kept in the user's cache: to find them it reads 14,000 files, for ten seconds.

The index belongs to one folder of tasks of one version of lm-eval. One that cannot be read is made anew, and where it
cannot be kept, nothing is.
"""

import gzip
import hashlib
import importlib.metadata
import json
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from nemostack.cache import cache_root
from nemostack.files import write_atomically


def task_manager(**options: Any) -> Any:
    """Return lm-eval's manager of tasks, by default of all that it brings."""
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._index import TaskIndex

    build = TaskIndex.build

    def build_once(folders: Sequence[Path]) -> dict[str, Any]:
        place = _place(folders)
        with suppress(OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
            return _read(place)
        index: dict[str, Any] = build(folders)
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            _write(place, index)
        return index

    TaskIndex.build = staticmethod(build_once)
    try:
        return TaskManager(**options)
    finally:
        TaskIndex.build = staticmethod(build)


def _place(folders: Sequence[Path]) -> Path:
    told = json.dumps([importlib.metadata.version("lm_eval"), *map(str, folders)])
    return cache_root() / "lm-eval" / f"tasks-{hashlib.sha256(told.encode()).hexdigest()[:16]}.json.gz"


def _read(place: Path) -> dict[str, Any]:
    from lm_eval.tasks._index import Entry, Kind

    with gzip.open(place, "rt", encoding="utf-8") as file:
        rows = json.load(file)
    return {
        name: Entry(name, Kind[kind], Path(path) if path else None, cfg, set(tags))
        for name, kind, path, cfg, tags in rows
    }


def _write(place: Path, index: dict[str, Any]) -> None:
    """Without the settings of a task that has a file: lm-eval reads them there when the task is used."""
    rows = [
        [one.name, one.kind.name, str(one.yaml_path or ""), None if one.yaml_path else one.cfg, sorted(one.tags)]
        for one in index.values()
    ]
    write_atomically(place, gzip.compress(json.dumps(rows).encode()))
