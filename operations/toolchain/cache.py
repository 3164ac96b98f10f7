"""The cache folder of the toolchain: `${XDG_CACHE_HOME:-~/.cache}/nemostack/tools/`.

A folder in it is either complete or absent: it is filled under another name and renamed. One lock keeps two
processes from installing at once; the second waits and then finds the work done.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nemostack.cache import cache_root
from nemostack.files import locked


def cache_dir() -> Path:
    """Where the toolchain lives; not created by this call."""
    return cache_root() / "tools"


@contextmanager
def install_lock() -> Iterator[None]:
    """Held while something is installed. Says so once when another process holds it."""
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / ".lock", wait_s=0))
        except TimeoutError:
            print(
                "==> waiting for another process that installs tools or fetches the base model",
                file=sys.stderr,
                flush=True,
            )
            stack.enter_context(locked(folder / ".lock"))
        yield


def install(target: Path, fill: Callable[[Path], None]) -> Path:
    """Make the folder `target` by letting `fill` fill an empty one beside it that then takes its place at once.

    Call with the install lock held.
    """
    for stale in target.parent.glob(f".{target.name}-*"):  # of a killed process: the lock is ours
        shutil.rmtree(stale, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        fill(staging)
        if target.exists():
            shutil.rmtree(target)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    target.chmod(0o755)
    return target
