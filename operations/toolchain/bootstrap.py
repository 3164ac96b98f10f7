"""Make or update `.venv`, in which everything else runs: `python3 operations/toolchain/bootstrap.py`.

Runs before anything is installed, so that it needs the standard library alone, and no syntax newer than the Pythons
that it refuses. Refuses a Python outside 3.11 to 3.13, and one without the venv module.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # not from nemostack.clone: this runs before there are packages
VENV = ROOT / ".venv"
PYTHON, UV = VENV / "bin" / "python", VENV / "bin" / "uv"
READY = VENV / ".ready"


def main() -> None:
    """Install the pinned packages and this project. A run that was interrupted is begun again."""
    version = sys.version.split()[0]
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        sys.exit(f"nemostack needs Python 3.11 to 3.13, {sys.executable} is {version}: try make PYTHON=python3.12")
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        sys.exit(
            f"{sys.executable} lacks the venv module: install it (Debian, Ubuntu: apt install python3-venv), "
            "then try again"
        )
    print("==> .venv: Pulumi, harness, load tests (about 1 min, 1 GB)", flush=True)
    if READY.exists():
        READY.unlink()
    if not UV.exists():  # uv comes last: a .venv without it was interrupted half-way, and may have a Python but no pip
        run("rm", "-rf", VENV)
        run(sys.executable, "-m", "venv", VENV)
        pinned = Path(__file__).with_name("bootstrap.txt")
        run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", pinned)
    # Compiled here, once: where PYTHONDONTWRITEBYTECODE is set, as in many images, each start would compile them again.
    run(UV, "pip", "sync", "-q", "--compile-bytecode", "--python", VENV, "--require-hashes", ROOT / "requirements.txt")
    run(UV, "pip", "install", "--quiet", "--python", VENV, "--no-deps", "--no-build-isolation", "--editable", ROOT)
    READY.touch()


def run(*command: object) -> None:
    """Run a command; end with its exit code if it fails."""
    code = subprocess.call([str(part) for part in command], cwd=str(ROOT))
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
