"""The lock files, compiled from pyproject.toml with hashes and without any index address.

`python -m operations.toolchain.lock_files` writes them; with `--check` it refuses those that have drifted.
"""

import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from operations.toolchain.environments import CLOUDS, ROOT, VENV

PROJECT = "pyproject.toml"
SOURCES: dict[str, tuple[str, ...]] = {
    "requirements.txt": (PROJECT, "--extra", "provision", "--group", "dev", "--group", "docs"),
    "embedded/requirements.txt": (PROJECT, "--extra", "local", "--group", "dev"),
}
"""Lock files of whole environments: the arguments of `uv pip compile`."""
CLOUD_FILES = {cloud: f"infra/clusters/requirements/{cloud}.txt" for cloud in CLOUDS}
"""Lock files of what a cloud's extra adds to `provision`, on top of requirements.txt."""


def read_cloud_packages(cloud: str) -> list[str]:
    """Read the requirements that the extra of a cloud has of its own, without the other extras that it includes."""
    project = tomllib.loads((ROOT / PROJECT).read_text(encoding="utf-8"))["project"]
    return [line for line in project["optional-dependencies"][cloud] if not line.startswith(f"{project['name']}[")]


def compile_lock(name: str, output: Path) -> None:
    """Compile the lock file `name` into `output`, which keeps the versions that are in it and still fit."""
    cloud = next((cloud for cloud, file in CLOUD_FILES.items() if file == name), None)
    sources = SOURCES[name] if cloud is None else ("-", "-c", "requirements.txt")
    subprocess.run(
        [
            *(str(VENV / "bin" / "uv"), "pip", "compile", *sources, "--universal", "--python-version", "3.11"),
            *("--generate-hashes", "--no-emit-index-url", "--no-header", "--quiet", "-o", str(output)),
        ],
        check=True,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        input=None if cloud is None else "\n".join(read_cloud_packages(cloud)),
        text=True,
    )


def drifted() -> list[str]:
    """Return the lock files that are not what pyproject.toml asks for."""
    names = []
    with tempfile.TemporaryDirectory() as folder:
        for name in (*SOURCES, *CLOUD_FILES.values()):
            copy = Path(folder) / "lock.txt"
            shutil.copy(ROOT / name, copy)
            compile_lock(name, copy)
            if copy.read_bytes() != (ROOT / name).read_bytes():
                names.append(name)
    return names


def main(arguments: list[str]) -> int:
    """Write or check; return the exit code."""
    if arguments != ["--check"]:
        for name in (*SOURCES, *CLOUD_FILES.values()):
            compile_lock(name, ROOT / name)
        return 0
    names = drifted()
    for name in names:
        print(f"{name} has drifted from pyproject.toml: run make lock", file=sys.stderr)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
