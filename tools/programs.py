"""The programs that stacks need, and the ways to get each one, in the order they are tried.

1. on PATH in a good version, 2. in the cache folder, 3. the official release, 4. built from pinned Go modules.
Refuses nothing that works: a user's own Pulumi is left alone and comes first.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools import golang, release
from tools.cache import cache_dir, install, install_lock
from tools.errors import ToolError

PULUMI_MINIMUM = (3, 150)
# Later versions of this module no longer hold the program; this one works with today's CLI and SDK.
LANGUAGE_HOST_VERSION = "3.70.0"
SCRIPTS_VERSION = "3.272.0"
SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"
RELEASE_FOLDER = f"pulumi-{release.VERSION}"


@dataclass(frozen=True, kw_only=True)
class Program:
    """One program: its name, the cache folder it is built into, and how it is built."""

    name: str
    folder: str
    build: Callable[[Path], None]
    good: Callable[[str], bool] = lambda _: True

    def find(self) -> str | None:
        """Path of the program if it need not be installed."""
        on_path = shutil.which(self.name, path=user_path())
        if on_path and self.good(on_path):
            return on_path
        for folder in (RELEASE_FOLDER, self.folder):
            cached = cache_dir() / folder / "bin" / self.name
            if os.access(cached, os.X_OK):
                return str(cached)
        return None


def user_path() -> str:
    """PATH without the cache folder, so that an environment inside an environment finds the same programs."""
    cache = str(cache_dir())
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(entry for entry in entries if not entry.startswith(cache))


def pulumi_is_good(program: str) -> bool:
    """Whether a pulumi CLI is new enough."""
    try:
        done = subprocess.run(
            [program, "version"],
            capture_output=True, text=True, timeout=30, check=False,
            env=os.environ | {"PULUMI_SKIP_UPDATE_CHECK": "true"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    found = re.match(r"v?(\d+)\.(\d+)", done.stdout.strip())
    return bool(found) and (int(found[1]), int(found[2])) >= PULUMI_MINIMUM and int(found[1]) == PULUMI_MINIMUM[0]  # type: ignore[index]


def build_pulumi(folder: Path) -> None:
    """The CLI with its engine."""
    golang.build(
        "pulumi", "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", folder / "bin" / "pulumi",
        version=release.VERSION, takes="4 min",
    )  # fmt: skip


def build_language_host(folder: Path) -> None:
    """The program that starts Python programs for the engine."""
    golang.build(
        "language-python", f"{SDK_MODULE}/python/cmd/pulumi-language-python", folder / "bin" / "pulumi-language-python",
        version=LANGUAGE_HOST_VERSION, takes="30 s",
    )  # fmt: skip


def copy_scripts(folder: Path) -> None:
    """The two scripts that the language host and the engine call."""
    sources = golang.module_folder("python-scripts", SDK_MODULE) / "python"
    (folder / "bin").mkdir()
    for script in (sources / "cmd" / "pulumi-language-python-exec", sources / "dist" / "pulumi-resource-pulumi-python"):
        copied = folder / "bin" / script.name
        shutil.copyfile(script, copied)
        copied.chmod(0o755)


SCRIPTS_FOLDER = f"pulumi-python-scripts-{SCRIPTS_VERSION}"
PROGRAMS = (
    Program(name="pulumi", folder=f"pulumi-built-{release.VERSION}", build=build_pulumi, good=pulumi_is_good),
    Program(
        name="pulumi-language-python",
        folder=f"pulumi-language-python-{LANGUAGE_HOST_VERSION}",
        build=build_language_host,
    ),
    Program(name="pulumi-language-python-exec", folder=SCRIPTS_FOLDER, build=copy_scripts),
    Program(name="pulumi-resource-pulumi-python", folder=SCRIPTS_FOLDER, build=copy_scripts),
)


def ensure() -> dict[str, str]:
    """Path of each program, installed if need be. Raises one ToolError that names every way tried."""
    found = {program.name: program.find() for program in PROGRAMS}
    if not all(found.values()):
        with install_lock():
            install_missing()
    paths = {program.name: program.find() for program in PROGRAMS}
    if absent := [name for name, path in paths.items() if not path]:
        raise ToolError(f"installed, yet not found: {', '.join(absent)} under {cache_dir()}")
    return {name: path for name, path in paths.items() if path}


def install_missing() -> None:
    """Install what `find` does not find. Called with the install lock held: another process may have done it."""
    missing = [program for program in PROGRAMS if not program.find()]
    if not missing:
        return
    try:
        install(RELEASE_FOLDER, release.download)
    except ToolError as error:
        refusal = str(error)
    else:
        return
    for program in missing:
        if program.find():  # a folder may hold several
            continue
        try:
            install(program.folder, program.build)
        except ToolError as error:
            raise ToolError(
                f"cannot get {program.name}:\n"
                f"  on PATH: none in a good version (pulumi {'.'.join(map(str, PULUMI_MINIMUM))} or later)\n"
                f"  official release: {refusal}\n"
                f"  build from Go modules: {error}\n"
                "Install Pulumi from https://www.pulumi.com/docs/install/ or give this machine a way to the Go module "
                "proxy (GOPROXY), then try again."
            ) from None
