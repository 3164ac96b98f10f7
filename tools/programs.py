"""The programs that stacks need, as sets that belong together, and the ways to get them, in the order they are tried.

1. on PATH in a good version, 2. in the cache folder, 3. the official release, 4. built from pinned Go modules.
Refuses nothing that works: a user's own Pulumi is left alone. One that lacks its Python host does not serve.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools import golang, release
from tools.cache import cache_dir, install, install_lock
from tools.errors import ToolError

PULUMI_MINIMUM = (3, 150)
# Later versions of this module no longer hold the program; this one works with today's CLI and SDK.
LANGUAGE_HOST_VERSION = "3.70.0"
SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"


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
        """Path of each program, installed if need be. Raises one ToolError that names every way tried."""
        if found := self.find():
            return found
        refusals = [f"on PATH: {self.wanted} with {', '.join(self.programs[1:])} is not there"]
        with install_lock():
            for folder, way, fill in self.ways:
                if found := self.find():  # another process was faster, or the way before this one worked
                    return found
                try:
                    install(folder, fill)
                except ToolError as error:
                    refusals.append(f"{way}: {error}")
                    print(f"==> {self.programs[0]}: no {way} here, trying the next way", file=sys.stderr)
        if found := self.find():
            return found
        raise ToolError(
            f"cannot get {self.programs[0]}:\n" + "\n".join(f"  {line}" for line in refusals) + f"\n{self.remedy}"
        )


def user_path() -> str:
    """PATH without the cache folder, so that an environment inside an environment finds the same programs."""
    cache = str(cache_dir())
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(entry for entry in entries if not entry.startswith(cache))


def pulumi_is_good(program: str) -> bool:
    """Whether a pulumi CLI is new enough."""
    env = os.environ | {"PULUMI_SKIP_UPDATE_CHECK": "true"}
    try:
        done = subprocess.run([program, "version"], capture_output=True, text=True, timeout=30, check=False, env=env)
    except (OSError, subprocess.TimeoutExpired):
        return False
    found = re.match(r"v?(\d+)\.(\d+)", done.stdout.strip())
    if not found:
        return False
    version = int(found[1]), int(found[2])
    return version >= PULUMI_MINIMUM and version[0] == PULUMI_MINIMUM[0]


def build_pulumi(folder: Path) -> None:
    """Fill `folder`/bin with the CLI, the host of Python programs, and the two scripts that these two start."""
    target = folder / "bin"
    target.mkdir()
    golang.build(
        "language-python", f"{SDK_MODULE}/python/cmd/pulumi-language-python", target / "pulumi-language-python",
        version=LANGUAGE_HOST_VERSION, takes="30 s",
    )  # fmt: skip
    sources = golang.module_folder("python-scripts", SDK_MODULE) / "python"
    for script in (sources / "cmd" / "pulumi-language-python-exec", sources / "dist" / "pulumi-resource-pulumi-python"):
        copied = target / script.name
        shutil.copyfile(script, copied)
        copied.chmod(0o755)
    golang.build(
        "pulumi", "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", target / "pulumi",
        version=release.VERSION, takes="4 min",
    )  # fmt: skip


PULUMI = ProgramSet(
    programs=("pulumi", "pulumi-language-python", "pulumi-language-python-exec", "pulumi-resource-pulumi-python"),
    good=pulumi_is_good,
    wanted=f"pulumi {'.'.join(map(str, PULUMI_MINIMUM))} or later",
    ways=(
        (f"pulumi-{release.VERSION}", "official release", release.download),
        (f"pulumi-{release.VERSION}-built", "build from Go modules", build_pulumi),
    ),
    remedy="Install Pulumi from https://www.pulumi.com/docs/install/ or give this machine a way to the Go module proxy "
    "(GOPROXY), then try again.",
)
SETS = {"pulumi": PULUMI}


def ensure(names: list[str] | None = None) -> dict[str, str]:
    """Path of each program of the named sets (all sets by default), installed if need be."""
    if unknown := set(names or ()) - SETS.keys():
        raise ToolError(f"unknown programs {', '.join(sorted(unknown))}; known: {', '.join(SETS)}")
    return {name: path for chosen in names or SETS for name, path in SETS[chosen].ensure().items()}
