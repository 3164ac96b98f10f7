"""Python packages that only some stacks need: environments of services on this machine, and the SDK of each cloud.

Installed when a stack first needs them, and again when their lock file has changed: a marker holds the digest of what
was installed. Refuses nothing that is up to date.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

from nemostack import clone
from nemostack.errors import ToolchainError

VENV, EMBEDDED = clone.ROOT / ".venv", clone.ROOT / ".venv-embedded"
EMBEDDED_CUDA = clone.ROOT / ".venv-embedded-cuda"
PLATFORM = clone.ROOT / ".venv-platform"
CLOUDS = ("gke", "eks", "aks")


def ensure_for(target: str | None) -> None:
    """Install what stacks of a target need. Nothing for a target that is unknown: Pulumi will say so."""
    if target == "local":
        ensure_embedded()
    elif target == "platform":  # no target, but what local stacks of that product need besides
        ensure_platform()
    elif target in CLOUDS:
        ensure_cloud(target)


def ensure_embedded() -> None:
    """Make or update `.venv-embedded`."""
    _ensure_services(EMBEDDED, "requirements.txt", "vLLM, PyTorch, lm-eval, MLflow server (1 to 5 min, 7 GB)")


def ensure_embedded_cuda() -> None:
    """Make or update `.venv-embedded-cuda`, which only stacks on a GPU need."""
    what = "vLLM and PyTorch for CUDA 13, lm-eval, MLflow server (2 to 10 min, 12 GB)"
    _ensure_services(EMBEDDED_CUDA, "requirements-cuda.txt", what)


def ensure_platform() -> None:
    """Make or update `.venv-platform`, which only stacks of the product `platform` need.

    Of its 47,000 modules a start imports a tenth, which it compiles the first time: all of them would take minutes.
    """
    what = "NVIDIA's NeMo Platform (half a minute, 2.5 GB)"
    _ensure_services(PLATFORM, "requirements-platform.txt", what, compiled=False)


def _ensure_services(venv: Path, lock_name: str, what: str, *, compiled: bool = True) -> None:
    lock = clone.ROOT / "embedded" / lock_name
    marker, locked = venv / ".ready", digest_of(lock, clone.ROOT / "pyproject.toml")
    if _holds(marker, locked):
        return
    _tell(f"{venv.name}: {what}")
    marker.unlink(missing_ok=True)
    if not (venv / "pyvenv.cfg").exists():
        shutil.rmtree(venv, ignore_errors=True)  # what an interruption left of it
        _uv("venv", "--quiet", "--python", str(VENV / "bin" / "python"), str(venv))
    compilation = ("--compile-bytecode",) if compiled else ()
    _uv("pip", "sync", "--python", str(venv), *compilation, "--require-hashes", str(lock))
    own = ("--no-deps", "--no-build-isolation", "-e", str(clone.ROOT))
    _uv("pip", "install", "--quiet", "--python", str(venv), *own)
    marker.write_text(locked)


def ensure_cloud(cloud: str) -> None:
    """Add the SDK of a cloud to `.venv`. What updates `.venv` removes it, so the marker depends on both locks."""
    lock = clone.ROOT / "infra" / "clusters" / "requirements" / f"{cloud}.txt"
    ready = VENV / ".ready"
    marker = VENV / f".cloud-{cloud}"
    made_at = str(ready.stat().st_mtime_ns) if ready.exists() else ""
    locked = f"{digest_of(lock)} {made_at}"
    if _holds(marker, locked):
        return
    _tell(f".venv: SDK of {cloud} (about 20 s)")
    _uv("pip", "install", "--quiet", "--python", str(VENV), "--require-hashes", "-r", str(lock))
    marker.write_text(locked)


def digest_of(*files: Path) -> str:
    """Return what identifies the content of lock files."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _holds(marker: Path, content: str) -> bool:
    return marker.exists() and marker.read_text() == content


def _tell(text: str) -> None:
    print(f"==> {text}", file=sys.stderr, flush=True)


def _uv(*arguments: str) -> None:
    """Run uv, and show its progress less the list of packages."""
    command = [str(VENV / "bin" / "uv"), *arguments]
    try:
        with subprocess.Popen(command, cwd=clone.ROOT, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if not re.match(r" [+~-] ", line):
                    print(line, end="", file=sys.stderr, flush=True)
    except OSError as error:
        raise ToolchainError(f"{command[0]} cannot be started: {error}; run `make env`") from error
    if process.returncode:
        raise ToolchainError(
            f"`uv {' '.join(arguments[:2])}` failed (exit {process.returncode}), see above; run it again"
        )


if __name__ == "__main__":  # `make bench-gpu`, which needs no stack
    ensure_embedded_cuda()
