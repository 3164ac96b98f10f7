"""What runs in the master's pod of a load test, and the commands by which the user's machine speaks to it.

    hold    the container's program: wait for the files, run the load test, keep its results until they are fetched
    put     unpack what the user's machine sends (a tar on stdin), and begin
    state   print one JSON object: is it over, with which exit code, and what was said since an offset
    stop    end the load test early, as Ctrl-C would
    get     write a tar of the manifest and the samples to stdout
    done    let the container end

Everything but `hold` is called by `kubectl exec`. A run does not depend on a connection: it goes on when that breaks,
and the results wait for half an hour. Imports the standard library alone, so that a call takes no time.
"""

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nemostack.version import VERSION

FOLDER_VARIABLE: Final = "NEMOSTACK_LOAD_POD"
ARGUMENTS: Final = "arguments.json"
RUN: Final = "run"
INPUT_S: Final = 900.0
KEPT_S: Final = 1800.0
_POLL_S: Final = 0.2
_READY, _STOP, _DONE, _EXIT_CODE, _SAID = "ready", "stop", "done", "exit-code", "said"


def folder() -> Path:
    """Return the folder in which all of this happens; whoever comes first makes it."""
    made = Path(os.environ[FOLDER_VARIABLE])
    made.mkdir(exist_ok=True)
    return made


def hold() -> int:
    """Be the container's program."""
    signal.signal(signal.SIGTERM, _end)
    if not _wait_for(_READY, INPUT_S):
        print(f"nobody sent what to do within {INPUT_S:.0f} s", file=sys.stderr)
        return 1
    code = _run(json.loads((folder() / ARGUMENTS).read_text(encoding="utf-8")))
    _write(_EXIT_CODE, str(code))
    _wait_for(_DONE, KEPT_S)
    return 0


def _end(*_: object) -> None:
    """Let load test and container end."""
    (folder() / _STOP).touch()
    (folder() / _DONE).touch()


def _run(arguments: Sequence[str]) -> int:
    command = [sys.executable, "-m", "load_tests", *arguments, "--out", str(folder() / RUN)]
    with (
        (folder() / "report.txt").open("wb") as printed,
        subprocess.Popen(command, stdout=printed, stderr=subprocess.PIPE) as load,
    ):
        listener = threading.Thread(target=_keep_what_is_said, args=(load,))
        listener.start()
        told = False
        while load.poll() is None:
            if not told and (folder() / _STOP).exists():
                load.send_signal(signal.SIGTERM)
                told = True
            time.sleep(_POLL_S)
        listener.join()
    return load.returncode


def _keep_what_is_said(load: "subprocess.Popen[bytes]") -> None:
    assert load.stderr is not None
    with (folder() / _SAID).open("ab", buffering=0) as kept:
        for line in load.stderr:
            kept.write(line)
            sys.stderr.buffer.write(line)  # for `kubectl logs`
            sys.stderr.flush()


def _wait_for(name: str, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while not (folder() / name).exists():
        if time.monotonic() > deadline or (folder() / _DONE).exists():
            return False
        time.sleep(_POLL_S)
    return True


def _write(name: str, text: str) -> None:
    part = folder() / f"{name}.part"
    part.write_text(text, encoding="utf-8")
    part.rename(folder() / name)


def put() -> None:
    """Take the files of the run and begin."""
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        archive.extractall(folder(), filter="data")
    (folder() / _READY).touch()


def state(offset: int) -> str:
    """Return how things are. `offset`: bytes of what was said that the caller has."""
    exit_code, said = folder() / _EXIT_CODE, folder() / _SAID
    ended = int(exit_code.read_text(encoding="utf-8")) if exit_code.exists() else None  # before what was said last
    new = said.read_bytes()[offset:] if said.exists() else b""
    new = new[: new.rfind(b"\n") + 1] if ended is None else new
    return json.dumps(
        {
            "version": VERSION,
            "exit_code": ended,
            "said": new.decode(errors="replace"),
            "offset": offset + len(new),
            "samples": any((folder() / RUN / "raw").glob("*")),
            "manifest": (folder() / RUN / "run.json").exists(),
        }
    )


def get() -> None:
    """Write the manifest and the samples to stdout."""
    with (
        gzip.GzipFile(fileobj=sys.stdout.buffer, mode="wb", compresslevel=3) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        for name in ("run.json", "raw"):
            if (folder() / RUN / name).exists():
                archive.add(folder() / RUN / name, arcname=name)


def pack(files: dict[str, bytes]) -> bytes:
    """Make what `put` takes: name -> content."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o600
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def main(arguments: Sequence[str]) -> int:
    """Do what the first argument says."""
    match list(arguments):
        case ["hold"]:
            return hold()
        case ["put"]:
            put()
        case ["state", offset]:
            print(state(int(offset)))
        case ["stop" | "done" as mark]:
            (folder() / mark).touch()
        case ["get"]:
            get()
        case _:
            print(f"not for people: {__doc__}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
