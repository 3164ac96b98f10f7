"""The Kubernetes plugin that the tests run with: the official one where it is installed, else the one of this package.

`NEMOSTACK_TEST_PROVIDER=official` or `=own` decides by force.
"""

import os
import shlex
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

from nemostack.clone import ROOT

CHOICE = "NEMOSTACK_TEST_PROVIDER"
PROGRAM = "pulumi-resource-kubernetes"


def official() -> Path | None:
    """Return the installed official plugin of the version that the Python SDK wants, None if there is none."""
    home = Path(os.environ.get("PULUMI_HOME") or "~/.pulumi").expanduser()
    path = home / "plugins" / folder_name() / PROGRAM
    return path if path.is_file() else None


def folder_name() -> str:
    """Return the name of the folder in which Pulumi keeps the plugin."""
    return f"resource-kubernetes-v{version('pulumi-kubernetes')}"


def is_own() -> bool:
    """Say whether the tests use the plugin of this package. Raises ValueError for a choice that cannot be had."""
    choice = os.environ.get(CHOICE, "")
    if choice not in ("", "own", "official"):
        raise ValueError(f"{CHOICE}={choice}: expected own or official")
    if choice == "official" and official() is None:
        raise ValueError(f"{CHOICE}=official, but `pulumi plugin ls` has no kubernetes {version('pulumi-kubernetes')}")
    return choice == "own" or official() is None


def install(folder: Path, home: Path) -> dict[str, str]:
    """Install the plugin for a stack; return the environment in which the engine finds it, offline.

    The stand-in's executable goes into `folder`, which goes first on PATH. The official plugin goes into `home`, the
    stack's own PULUMI_HOME, by hard links: the engine takes no symbolic link for a plugin.
    """
    offline = {"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true"}
    installed = None if is_own() else official()
    if installed:
        link_files(installed.parent, home / "plugins" / folder_name())
        return offline
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / PROGRAM
    command = f'exec {shlex.quote(sys.executable)} -u -m simulator.provider --engine-pid "$PPID"'
    program.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} {command} "$@"\n')
    program.chmod(0o755)
    return offline | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def link_files(source: Path, target: Path) -> None:
    """Make `target` a folder with the same files as `source`: hard links, or copies on another file system."""

    def link(file: str, name: str) -> str:
        try:
            os.link(file, name)
        except OSError:
            shutil.copy2(file, name)
        return name

    shutil.copytree(source, target, copy_function=link)
