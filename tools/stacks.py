"""Brings a stack up and down in one command, from nothing, after an interruption, or when nothing is to do.

A stack with a file of its own (`Pulumi.<stack>.yaml`) uses that; any other name takes the settings of
`Pulumi.local.yaml` and keeps them in `.nemostack/<stack>/Pulumi.yaml`, so that it can run beside the local stack.
"""

import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tools import commands, environment
from tools.errors import ToolError

PROJECT = "nemostack"
PROJECT_FILE = "Pulumi.yaml"


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack of this clone and the variables under which Pulumi works on it."""

    name: str
    variables: dict[str, str] = field(default_factory=environment.variables)

    @property
    def folder(self) -> Path:
        """What this clone keeps of the stack."""
        return environment.STATE / self.name

    @property
    def own_file(self) -> Path | None:
        """The settings of a stack without a tracked file; None for a stack that has one."""
        tracked = environment.ROOT / f"Pulumi.{self.name}.yaml"
        return None if tracked.exists() else self.folder / PROJECT_FILE

    def pulumi(self, *arguments: str, capture: bool = False) -> tuple[int, str]:
        """Run `pulumi ARGUMENTS` on this stack."""
        command = ["pulumi", "--cwd", str(environment.ROOT), *arguments, "--stack", self.name]
        return commands.run(command, self.variables, capture=capture)

    def file_arguments(self) -> list[str]:
        """Says where the settings are, for a stack without a tracked file."""
        return ["--config-file", str(self.own_file)] if self.own_file else []

    @property
    def state_file(self) -> Path | None:
        """The stack's state, if it lies in this clone's own backend."""
        backend = environment.own_backend()
        if self.variables.get("PULUMI_BACKEND_URL") != backend.as_uri():
            return None
        return backend / ".pulumi" / "stacks" / PROJECT / f"{self.name}.json"

    def exists(self) -> bool:
        """Whether the backend knows the stack."""
        if self.state_file is not None:
            return self.state_file.exists()
        code, listed = commands.run(
            ["pulumi", "--cwd", str(environment.ROOT), "stack", "ls", "--json"], self.variables, capture=True
        )
        if code:
            raise ToolError("`pulumi stack ls` failed, see above")
        return self.name in {entry["name"].split("/")[-1] for entry in json.loads(listed)}

    def init(self) -> None:
        """Make the stack in the backend, unless it is there."""
        if self.exists():
            return
        # In another folder: `stack init` writes a salt into the stack's file, and the tracked one has comments.
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(environment.ROOT / PROJECT_FILE, folder)
            command = ["pulumi", "--cwd", folder, "stack", "init", self.name, "--no-select"]
            code, _ = commands.run(command, self.variables, capture=True)
        if code:
            raise ToolError(f"`pulumi stack init {self.name}` failed, see above")

    def clear_pending(self) -> None:
        """Drop what an interrupted `up` was about to do: creating is safe to repeat, and Pulumi warns until told so."""
        if self.state_file is None or not self.state_file.exists():
            return
        state = json.loads(self.state_file.read_text())
        if (state.get("checkpoint", {}).get("latest") or {}).get("pending_operations"):
            print(f"==> stack {self.name} was interrupted: looking what is there", file=sys.stderr)
            refresh = ["refresh", "--yes", "--skip-preview", "--clear-pending-creates", "--suppress-outputs"]
            code, _ = self.pulumi(*refresh, *self.file_arguments())
            if code:
                raise ToolError(f"`pulumi refresh` of stack {self.name} failed, see above")

    def write_own_file(self) -> None:
        """Give a stack without a tracked file the settings of the local stack to start from."""
        if self.own_file is None or self.own_file.exists():
            return
        settings = yaml.safe_load((environment.ROOT / "Pulumi.local.yaml").read_text())
        for part in (environment.STATE, self.folder):
            part.mkdir(mode=0o700, exist_ok=True)
        self.own_file.write_text(yaml.safe_dump({"config": settings["config"]}))


def up(name: str, settings: list[str], extra: list[str]) -> int:
    """Create or update a stack. `settings` are `key=value`, kept in the stack's file."""
    stack = Stack(name=name)
    stack.init()
    stack.write_own_file()
    stack.clear_pending()
    chosen = [part for setting in settings for part in ("--config", qualified(setting))]
    if chosen:
        if stack.own_file is None:
            raise ToolError(f"--config would rewrite Pulumi.{name}.yaml: edit that file, or pick another --stack name")
        chosen.append("--config-path")
    code, _ = stack.pulumi(
        "up", "--yes", "--skip-preview", "--suppress-outputs", *stack.file_arguments(), *chosen, *extra
    )
    return code


def qualified(setting: str) -> str:
    """`local.base_port=1` as Pulumi's `nemostack:local.base_port=1`."""
    key, equals, _ = setting.partition("=")
    if not equals:
        raise ToolError(f"--config {setting}: expected key=value, e.g. local.base_port=19080")
    return setting if ":" in key else f"nemostack:{setting}"


def down(name: str, extra: list[str], *, purge: bool) -> int:
    """Destroy what a stack made. `purge` also forgets the stack and removes its data."""
    stack = Stack(name=name)
    if not stack.exists():
        print(f"==> there is no stack {name}", file=sys.stderr)
        return 0
    stack.clear_pending()
    code, _ = stack.pulumi("destroy", "--yes", "--skip-preview", *stack.file_arguments(), *extra)
    if code:
        return code
    sweep(stack)
    if purge:
        code, _ = stack.pulumi("stack", "rm", "--yes", "--preserve-config")
        shutil.rmtree(stack.folder, ignore_errors=True)
    return code


def sweep(stack: Stack) -> None:
    """End what an interrupted `up` started and the state never heard of. Only a local stack has such things."""
    if stack.folder.exists():
        from infra.local.leftovers import end_leftovers

        end_leftovers(stack.folder)


def outputs(name: str) -> int:
    """Print a stack's outputs as JSON, secrets included."""
    os.environ.setdefault("PULUMI_SKIP_UPDATE_CHECK", "true")
    code, _ = Stack(name=name).pulumi("stack", "output", "--json", "--show-secrets")
    return code
