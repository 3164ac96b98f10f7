"""The lock files, compiled from pyproject.toml with hashes and without any index address.

`python -m operations.toolchain.lock_files` writes them; with `--check` it refuses those that have drifted. What
passed a check is not compiled again before one of the files changes.
"""

import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from nemostack.clone import ROOT
from operations.toolchain.environments import CLOUDS, VENV, digest_of

CHECKED = VENV / ".locks-checked"

SOURCES: dict[str, tuple[str, ...]] = {
    "requirements.txt": (
        *("pyproject.toml", "--extra", "provision"),
        *("--group", "dev", "--group", "docs", "--group", "notebooks", "--group", "browser"),
    ),
    "embedded/requirements.txt": ("--group", "embedded", "--group", "dev"),
    # of one platform, and without the overrides in pyproject.toml, which are those of the CPU's PyTorch
    "embedded/requirements-cuda.txt": (
        *("--group", "embedded-cuda", "--no-config", "--python-platform", "x86_64-manylinux_2_28"),
    ),
    "embedded/requirements-platform.txt": ("--group", "platform"),
    **{f"infra/clusters/requirements/{cloud}.txt": ("--group", cloud, "-c", "requirements.txt") for cloud in CLOUDS},
}
"""Lock file -> what it is compiled from."""


def compile_lock(sources: tuple[str, ...], output: Path) -> None:
    """Compile one lock file into `output`, which keeps the versions that are in it and still fit."""
    subprocess.run(
        [
            *(str(VENV / "bin" / "uv"), "pip", "compile", *sources, "--python-version", "3.11"),
            *(() if "--python-platform" in sources else ("--universal",)),
            *("--generate-hashes", "--no-emit-index-url", "--no-header", "--quiet", "-o", str(output)),
        ],
        check=True,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )


def drifted() -> list[str]:
    """Return the lock files that are not what pyproject.toml asks for."""
    names = []
    with tempfile.TemporaryDirectory() as folder:
        for name, sources in SOURCES.items():
            copy = Path(folder) / "lock.txt"
            shutil.copy(ROOT / name, copy)
            compile_lock(sources, copy)
            if copy.read_bytes() != (ROOT / name).read_bytes():
                names.append(name)
    return names


def main(arguments: list[str]) -> int:
    """Write or check; return the exit code."""
    if arguments != ["--check"]:
        for name, sources in SOURCES.items():
            compile_lock(sources, ROOT / name)
        return 0
    state = f"{version('uv')} {digest_of(ROOT / 'pyproject.toml', *(ROOT / name for name in SOURCES))}"
    if CHECKED.exists() and CHECKED.read_text() == state:
        return 0
    names = drifted()
    for name in names:
        print(f"{name} has drifted from pyproject.toml: run make lock", file=sys.stderr)
    if not names:
        CHECKED.write_text(state)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
