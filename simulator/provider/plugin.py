"""Which Kubernetes plugin the tests run with: the official one where it is installed, else the one of this package.

`NEMOSTACK_TEST_PROVIDER=official` or `=own` decides by force.
"""

import os
import shlex
import sys
from importlib.metadata import version
from pathlib import Path

CHOICE = "NEMOSTACK_TEST_PROVIDER"
ROOT = Path(__file__).parents[2]


def official() -> Path | None:
    """Return the installed official plugin of the version that the Python SDK wants, None if there is none."""
    home = Path(os.environ.get("PULUMI_HOME") or "~/.pulumi").expanduser()
    path = home / "plugins" / f"resource-kubernetes-v{version('pulumi-kubernetes')}" / "pulumi-resource-kubernetes"
    return path if path.is_file() else None


def is_own() -> bool:
    """Say whether the tests use the plugin of this package. Raises ValueError for a choice that cannot be had."""
    choice = os.environ.get(CHOICE, "")
    if choice not in ("", "own", "official"):
        raise ValueError(f"{CHOICE}={choice}: expected own or official")
    if choice == "official" and official() is None:
        raise ValueError(f"{CHOICE}=official, but `pulumi plugin ls` has no kubernetes {version('pulumi-kubernetes')}")
    return choice == "own" or official() is None


def install(folder: Path) -> dict[str, str]:
    """Write the plugin's executable into `folder`; returns the environment that makes the engine find it.

    With the official plugin chosen nothing is written and the environment stays as it is.
    """
    if not is_own():
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "pulumi-resource-kubernetes"
    command = f'exec {shlex.quote(sys.executable)} -u -m simulator.provider --engine-pid "$PPID"'
    program.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} {command} "$@"\n')
    program.chmod(0o755)
    return {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }
