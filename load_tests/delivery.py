"""What travels between the master of a run and its workers: the plan to them, their samples back.

Workers of one machine share the run's folder with the master, and nothing has to travel. A worker on another host gets
the manifest and the files that it names (prompts, tools) in a message before it starts, works in a temporary
folder, and sends what it wrote there: every three seconds with Locust's report of its statistics, and the rest at its
end. The facts of a worker come last, so their file says that all of its samples are there. What a worker had sent
before it was lost is kept.

Both sides trust the network no more than they have to: a master takes only files of the names below, at the place where
they belong; a worker on another host runs no command for its master (`--beside`).
"""

import json
import re
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from load_tests.options import RunManifest
from load_tests.run_folder import MANIFEST
from load_tests.traffic.trace import TraceRow
from nemostack.errors import BadInput

PLAN: Final = "nemostack-plan"
SAMPLES: Final = "nemostack-samples"
OVER: Final = "nemostack-over"
FINISH: Final = "nemostack-finish"
REPORT_KEY: Final = "nemostack_samples"
_CHUNK_BYTES: Final = 4 << 20
_MAX_CHUNK_BYTES: Final = 64 << 20
_FILES: Final = ("prompts", "tools")
_NAME: Final = re.compile(r"(requests-\d{1,6}\.jsonl|worker-\d{1,6}\.json|server\.jsonl|[a-z]{1,20}\.(json|jsonl|log))")
_FACTS: Final = re.compile(r"worker-\d+\.json")

Chunk = dict[str, Any]  # name, offset, data (compressed)


def pack(manifest: RunManifest, rows: Sequence[TraceRow] = ()) -> dict[str, Any]:
    """Make the message that tells a worker what to do. `rows`: those of the trace that are due, of all workers."""
    spec = manifest.spec
    named = {name: getattr(spec, name) for name in _FILES}
    files = {name: path.read_bytes() for name, path in named.items() if path is not None}
    return {
        "manifest": manifest.model_dump_json(),
        "rows": zlib.compress(json.dumps(rows).encode()),
        "files": {k: zlib.compress(v) for k, v in files.items()},
    }


def unpack(message: dict[str, Any]) -> tuple[RunManifest, list[TraceRow], "Courier | None"]:
    """Read that message; with a courier where this worker does not see the master's folder. Raises BadInput."""
    manifest = RunManifest.model_validate_json(message["manifest"])
    rows = [TraceRow(*row) for row in json.loads(zlib.decompress(message["rows"]))]
    spec = manifest.spec
    shared = spec.out / MANIFEST
    if shared.is_file() and RunManifest.model_validate_json(shared.read_bytes()) == manifest:
        return manifest, rows, None
    if spec.beside.command:
        raise BadInput("--beside runs a command on the first worker, and workers on other hosts run none")
    home = Path(tempfile.mkdtemp(prefix="nemostack-worker-"))
    paths = {}
    for name in _FILES:
        if name in message["files"]:
            paths[name] = home / name
            paths[name].write_bytes(zlib.decompress(message["files"][name]))
    moved = manifest.model_copy(update={"spec": spec.model_copy(update={"out": home / spec.out.name, **paths})})
    return moved, rows, Courier(moved.spec.out / "raw")


class Courier:
    """Sends a folder's files piece by piece, as they grow."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._sent = folder, dict[str, int]()

    def chunks(self, *, last: bool = False) -> Iterator[Chunk]:
        """Return what was not sent yet; the facts of the worker only with the `last` of it, behind all else."""
        paths = sorted(self._folder.glob("*"), key=lambda path: bool(_FACTS.fullmatch(path.name)))
        for path in paths:
            if not _NAME.fullmatch(path.name) or (_FACTS.fullmatch(path.name) and not last):
                continue
            with path.open("rb") as file:
                while data := self._read(file, path.name):
                    yield data

    def _read(self, file: Any, name: str) -> Chunk | None:
        offset = self._sent.get(name, 0)
        file.seek(offset)
        data = file.read(_CHUNK_BYTES)
        self._sent[name] = offset + len(data)
        return {"name": name, "offset": offset, "data": zlib.compress(data)} if data else None


def receive(chunk: Chunk, folder: Path) -> None:
    """Put a piece of a worker's file where it belongs in the master's folder. Raises BadInput for any other name."""
    name = str(chunk["name"])
    if not _NAME.fullmatch(name):
        raise BadInput(f"a worker sent a file of the name {name!r}, which is none of a run's")
    unpacking = zlib.decompressobj()
    data = unpacking.decompress(chunk["data"], _MAX_CHUNK_BYTES)
    if not unpacking.eof:
        raise BadInput(f"a worker sent a piece of {name} that is larger than any it may send")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.seek(int(chunk["offset"]))
        file.write(data)
