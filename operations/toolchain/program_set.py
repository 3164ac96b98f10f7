"""A set of programs that belong together, and the ways to get it, in the order they are tried.

1. on PATH in a good version, 2. in the cache folder, 3. by each of the set's own ways: a release, a build.
Refuses nothing that works: a user's own program is left alone. A set with one program missing does not serve.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nemostack.errors import ToolchainError
from operations.toolchain.cache import cache_dir, install, install_lock


@dataclass(frozen=True, kw_only=True)
class ProgramSet:
    """Programs that must lie in one folder. The first is the one that is asked for its version."""

    programs: tuple[str, ...]
    good: Callable[[str], bool]
    wanted: str
    ways: tuple[tuple[str, str, Callable[[Path], None]], ...]
    """Cache folder, how the way is called in an error, what fills the folder."""
    remedy: str

    def find(self) -> dict[str, str] | None:
        """Path of each program if nothing need be installed."""
        on_path = {name: path for name in self.programs if (path := shutil.which(name, path=user_path()))}
        if len(on_path) == len(self.programs) and self.good(on_path[self.programs[0]]):
            return on_path
        for folder, _, _ in self.ways:
            cached = {name: cache_dir() / folder / "bin" / name for name in self.programs}
            if all(os.access(path, os.X_OK) for path in cached.values()):
                return {name: str(path) for name, path in cached.items()}
        return None

    def ensure(self) -> dict[str, str]:
        """Path of each program, installed if need be. Raises one ToolchainError that names every way tried."""
        if paths := self.find():
            return paths
        others = f" with {', '.join(self.programs[1:])}" if self.programs[1:] else ""
        refusals = [f"on PATH: {self.wanted}{others} is not there"]
        with install_lock():
            for folder, way, fill in self.ways:
                if paths := self.find():  # another process was faster, or the way before this one worked
                    return paths
                try:
                    install(cache_dir() / folder, fill)
                except ToolchainError as error:
                    refusals.append(f"{way}: {error}")
                    if way != self.ways[-1][1]:
                        print(f"==> {self.programs[0]}: no {way} here, trying the next way", file=sys.stderr)
        if paths := self.find():
            return paths
        raise ToolchainError(
            f"cannot get {self.programs[0]}:\n" + "\n".join(f"  {line}" for line in refusals) + f"\n{self.remedy}"
        )


def user_path() -> str:
    """PATH without the cache folder, so that an environment inside an environment finds the same programs."""
    cache = str(cache_dir())
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(entry for entry in entries if not entry.startswith(cache))


def version_of(command: list[str], variables: dict[str, str] | None = None) -> tuple[int, int] | None:
    """(major, minor) of the first version that `command` prints; None when it does not run or prints none."""
    env = os.environ | (variables or {})
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=env)
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"(?<![\d.])v?(\d+)\.(\d+)", done.stdout)
    return (int(version[1]), int(version[2])) if version else None
