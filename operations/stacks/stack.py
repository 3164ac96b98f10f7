"""A stack of this clone: where its settings, state and data are, and Pulumi on it.

A stack with a file of its own (`Pulumi.<stack>.yaml`) uses that. The file of the stack `local` is written on the first
`up`. Any other name takes the settings of `Pulumi.local.yaml` and keeps them in `.nemostack/<stack>/Pulumi.yaml`, so
that it can run beside the local stack.
"""

import json
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from infra.config import stack_file
from nemostack import clone
from nemostack.errors import SettingsError, ToolchainError
from nemostack.outputs import StackOutputs
from operations.helm_releases import Release
from operations.stacks import commands, environment, interruption, unfinished

PROJECT = "nemostack"
PROJECT_FILE = "Pulumi.yaml"
LOCAL = "local"
ADOPTED = ("existing", "minikube")
"""Targets whose cluster is the user's, with the kubeconfig."""


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
        """Settings of a stack without a file at the top of the clone; None for a stack that has one there."""
        return None if self.user_file.exists() or self.name == LOCAL else self.folder / PROJECT_FILE

    @property
    def user_file(self) -> Path:
        """Settings of the stack at the top of the clone, where its user edits them."""
        return clone.ROOT / f"Pulumi.{self.name}.yaml"

    @property
    def settings_file(self) -> Path:
        """File with the settings of the stack, wherever it is."""
        return self.own_file or self.user_file

    @property
    def settings(self) -> dict[str, Any]:
        """What the stack's file says; empty when it has none."""
        file = self.settings_file
        read = yaml.safe_load(file.read_text()) if file.exists() else None
        settings = read.get("config") if isinstance(read, dict) else None
        return settings if isinstance(settings, dict) else {}

    @property
    def target(self) -> str | None:
        """Where the stack's things are; None when its file does not say."""
        return self.settings.get(f"{PROJECT}:target")

    @property
    def is_local(self) -> bool:
        """Whether all of the stack is on this machine, where doing a thing again or undoing it costs nothing."""
        return self.target == "local"

    @property
    def names_model(self) -> bool:
        """Whether a local stack has a base model of its own choice."""
        local = self.settings.get(f"{PROJECT}:local")
        model = local.get("base_model") if isinstance(local, dict) else None
        return isinstance(model, str) or (isinstance(model, dict) and model.get("path") is not None)

    @property
    def service_folder(self) -> Path:
        """Where the services of a local stack keep their things: `local.data_dir` if it is set."""
        local = self.settings.get(f"{PROJECT}:local")
        chosen = local.get("data_dir") if isinstance(local, dict) else None
        return clone.ROOT / chosen if chosen else self.folder

    def pulumi(self, *arguments: str, capture: bool = False) -> tuple[int, str]:
        """Run `pulumi ARGUMENTS` on this stack."""
        command = ["pulumi", "--cwd", str(clone.ROOT), *arguments, "--stack", self.name]
        return commands.run(command, self.variables, capture=capture)

    def file_arguments(self) -> list[str]:
        """Says where the settings are, for a stack without a tracked file."""
        return ["--config-file", str(self.own_file)] if self.own_file and self.own_file.exists() else []

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
            ["pulumi", "--cwd", str(clone.ROOT), "stack", "ls", "--json"], self.variables, capture=True
        )
        if code:
            raise ToolchainError("`pulumi stack ls` failed, see above")
        return self.name in {entry["name"].split("/")[-1] for entry in json.loads(listed)}

    def init(self) -> None:
        """Make the stack in the backend, unless it is there."""
        if self.exists():
            return
        # In another folder: `stack init` writes a salt into the stack's file, and the tracked one has comments.
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(clone.ROOT / PROJECT_FILE, folder)
            command = ["pulumi", "--cwd", folder, "stack", "init", self.name, "--no-select"]
            code, _ = commands.run(command, self.variables, capture=True)
        if code:
            hint = environment.missing_passphrase()
            raise ToolchainError(f"`pulumi stack init {self.name}` failed, see above" + (f"; {hint}" if hint else ""))

    def deployment(self, *, secrets: bool = False) -> dict[str, Any]:
        """Return Pulumi's state of the stack, empty before the first `up`. `secrets`: decrypt what is secret in it."""
        if self.state_file is not None and not secrets:
            latest = json.loads(self.state_file.read_text()).get("checkpoint", {}).get("latest")
        else:
            code, exported = self.pulumi("stack", "export", *(["--show-secrets"] if secrets else []), capture=True)
            if code:
                raise ToolchainError(f"`pulumi stack export` of stack {self.name} failed, see above")
            latest = json.loads(exported).get("deployment")
        return latest or {}

    def pending(self) -> list[str]:
        """What an interrupted command had begun, one line each: how it ended, Pulumi could not write down."""
        operations = self.deployment().get("pending_operations") or ()
        return [f"{begun['type']} {'::'.join(begun['resource']['urn'].split('::')[2:])}" for begun in operations]

    def outputs_so_far(self, outputs: StackOutputs | None) -> StackOutputs | None:
        """Complete the outputs of the last `up` that ended by what Pulumi's state knows. None: it knows no cluster.

        `outputs`: None where no `up` has ended yet. Raises SettingsError, ToolchainError.
        """
        if outputs is not None:
            return unfinished.with_namespaces(outputs, self.deployment()) if outputs.cluster else outputs
        if self.is_local or not self.exists():
            return None
        deployment = self.deployment()
        if unfinished.is_connected(deployment) and self.target not in ADOPTED:
            deployment = self.deployment(secrets=True)
        return unfinished.from_settings(self.settings_file, deployment)

    def half_done_releases(self, pending: list[str]) -> list[Release] | None:
        """Return the stack's releases that Helm has begun and not ended; None: it cannot be asked."""
        code, printed = self.pulumi("stack", "output", "--json", "--show-secrets", capture=True)
        try:
            ended = StackOutputs.model_validate_json(printed) if json.loads(printed or "{}") else None
            outputs = None if code else self.outputs_so_far(ended)
        except (ValidationError, SettingsError, ToolchainError):
            return None
        return interruption.half_done_releases(outputs, pending) if outputs else None

    def settle(self, *, releases: bool = False) -> None:
        """Clear up what an interrupted command had begun. `releases`: also ask Helm, which a refresh does not.

        On this machine creating is safe to repeat: Pulumi may forget it. In a cloud it would forget a thing that is
        perhaps there and costs money, so there this stops and leaves the state as it is.
        """
        pending = self.pending()
        if not self.is_local:
            releases = releases or any(interruption.RELEASE in line for line in pending)
            half_done = self.half_done_releases(pending) if releases else []
            if pending or half_done:
                arguments = [self.name, *self.file_arguments()]
                raise ToolchainError(interruption.message(arguments, pending, half_done))
            return
        if not pending:
            return
        print(f"==> stack {self.name} was interrupted: checking what exists", file=sys.stderr)
        refresh = ["refresh", "--yes", "--skip-preview", "--clear-pending-creates", "--suppress-outputs"]
        code, _ = self.pulumi(*refresh, *self.file_arguments())
        if code:
            raise ToolchainError(f"`pulumi refresh` of stack {self.name} failed, see above")

    def consent(self, *, yes: bool) -> list[str]:
        """Arguments that keep Pulumi from asking, where nobody need be asked. Refuses to ask without a terminal."""
        if self.is_local:
            return ["--yes", "--skip-preview"]
        if yes:
            return ["--yes"]
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise ToolchainError(
                f"stack {self.name} (target {self.target or 'unknown'}) is not on this machine: Pulumi shows a preview "
                "and asks for confirmation, which needs a terminal; pass --yes to go ahead without being asked"
            )
        return []

    def write_settings(self) -> bool:
        """Write the settings of a stack of this machine that has none yet. Whether it had none."""
        if self.settings_file.exists():
            return False
        if self.own_file is None:
            self.user_file.write_text(stack_file.starter(LOCAL, self.name), encoding="utf-8")
            return True
        local_file = clone.ROOT / f"Pulumi.{LOCAL}.yaml"
        content = (
            local_file.read_text(encoding="utf-8") if local_file.exists() else stack_file.starter(LOCAL, self.name)
        )
        for part in (environment.STATE, self.folder):
            part.mkdir(mode=0o700, exist_ok=True)
        self.own_file.write_text(yaml.safe_dump({"config": yaml.safe_load(content)["config"]}))
        return True

    def holds(self, setting: str) -> bool:
        """Whether the stack's file says already what `setting` (key.path=value) says."""
        path, _, value = qualified(setting).partition("=")
        held: Any = self.settings
        for key in path.split("."):
            held = held.get(key) if isinstance(held, dict) else None
        return held is not None and str(held) == value


def qualified(setting: str) -> str:
    """`local.base_port=1` as Pulumi's `nemostack:local.base_port=1`."""
    key, equals, _ = setting.partition("=")
    if not equals:
        raise ToolchainError(f"--config {setting}: expected key=value, e.g. local.base_port=19080")
    full = setting if ":" in key else f"{PROJECT}:{setting}"
    if full.startswith(f"{PROJECT}:target="):
        raise ToolchainError(f"--config {setting}: a stack of another target needs a file: nemostack config init")
    return full
