"""Brings a stack up and down in one command, from nothing, after an interruption, or when nothing is to do.

On this machine (target `local`) nothing is asked. Elsewhere things cost money and hold data: Pulumi shows a preview and
asks, and what an interrupted command left half done is for the user to settle.

A stack with a file of its own (`Pulumi.<stack>.yaml`) uses that. The file of the stack `local` is written on the first
`up`. Any other name takes the settings of `Pulumi.local.yaml` and keeps them in `.nemostack/<stack>/Pulumi.yaml`, so
that it can run beside the local stack.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from infra.config import stack_file
from infra.local.accelerator import Choice, choose
from nemostack import clone
from nemostack.errors import SettingsError, ToolchainError
from nemostack.outputs import StackOutputs
from operations.helm_releases import Release
from operations.stacks import commands, environment, interruption, unfinished
from operations.toolchain import environments, sample_model

PROJECT = "nemostack"
PROJECT_FILE = "Pulumi.yaml"
LOCAL = "local"
ADOPTED = ("existing", "minikube")
"""Targets whose cluster is the user's, with the kubeconfig."""
CHOICES_OF_MODEL = ("local.base_model=", "local.base_model.path=")


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


def up(name: str, settings: list[str], extra: list[str], *, yes: bool) -> int:
    """Create or update a stack. `settings` are `key=value`, kept in the stack's file; `yes` answers every question."""
    stack = Stack(name=name)
    written_now = stack.write_settings()
    consent = stack.consent(yes=yes)
    provide(stack, settings)
    stack.init()
    stack.settle(releases=True)
    chosen = [part for setting in settings if not stack.holds(setting) for part in ("--config", qualified(setting))]
    if chosen:
        if stack.own_file is None and not written_now:
            raise ToolchainError(
                f"--config would rewrite Pulumi.{name}.yaml: edit that file, or pick another --stack name"
            )
        chosen.append("--config-path")
    code, _ = stack.pulumi("up", *consent, "--suppress-outputs", *stack.file_arguments(), *chosen, *extra)
    if code and not stack.is_local:
        print(
            f"==> `nemostack doctor --stack {name}` names what is wrong and what to do; the way out of each case is in "
            'docs/operations.md, "When something is broken"',
            file=sys.stderr,
        )
    return code


def preview(name: str, extra: list[str]) -> int:
    """Show what `up` would change, and return Pulumi's exit code."""
    stack = Stack(name=name)
    stack.write_settings()
    provide(stack)
    stack.init()
    code, _ = stack.pulumi("preview", *stack.file_arguments(), *extra)
    return code


def provide(stack: Stack, settings: Sequence[str] = ()) -> None:
    """Install what a stack needs: packages of its target, and the default base model if it names none."""
    environments.ensure_for(stack.target)
    if stack.is_local and accelerator_of(stack, settings).kind == "cuda":
        environments.ensure_embedded_cuda()
    if stack.is_local and chosen_value(stack, settings, "product") == "platform":
        environments.ensure_platform()
    if (
        stack.is_local
        and not stack.names_model
        and not any(setting.removeprefix(f"{PROJECT}:").startswith(CHOICES_OF_MODEL) for setting in settings)
    ):
        sample_model.ensure()


def accelerator_of(stack: Stack, settings: Sequence[str] = ()) -> Choice:
    """Choose what a local stack computes on, from `settings` of the command line and the stack's file."""
    wanted = chosen_value(stack, settings, "local.accelerator") or "auto"
    known: tuple[Literal["auto", "cpu", "cuda"], ...] = ("auto", "cpu", "cuda")
    return choose(next((kind for kind in known if kind == wanted), "cpu"))  # the program refuses other values


def chosen_value(stack: Stack, settings: Sequence[str], path: str) -> Any:
    """Value of a setting by its path, from `settings` of the command line, else from the stack's file; else None."""
    for key, _, value in (qualified(setting).partition("=") for setting in reversed(settings)):
        if key == f"{PROJECT}:{path}":
            return value
    first, *rest = path.split(".")
    held: Any = stack.settings.get(f"{PROJECT}:{first}")
    for key in rest:
        held = held.get(key) if isinstance(held, dict) else None
    return held


def qualified(setting: str) -> str:
    """`local.base_port=1` as Pulumi's `nemostack:local.base_port=1`."""
    key, equals, _ = setting.partition("=")
    if not equals:
        raise ToolchainError(f"--config {setting}: expected key=value, e.g. local.base_port=19080")
    full = setting if ":" in key else f"{PROJECT}:{setting}"
    if full.startswith(f"{PROJECT}:target="):
        raise ToolchainError(f"--config {setting}: a stack of another target needs a file: nemostack config init")
    return full


def down(name: str, extra: list[str], *, purge: bool, yes: bool) -> int:
    """Destroy what a stack made. `purge` also forgets the stack and removes its data; `yes` answers every question."""
    stack = Stack(name=name)
    if purge and stack.target not in (None, "local"):
        raise ToolchainError(
            f"stack {name} (target {stack.target}) is not on this machine, so it is not removed with its data in one "
            f"go: `nemostack teardown --stack {name}` takes it down and tells what is left"
        )
    if not stack.exists():
        print(f"==> there is no stack {name}", file=sys.stderr)
        if purge:
            forget_clone()
        return 0
    consent = stack.consent(yes=yes)
    stack.settle()
    code, _ = stack.pulumi("destroy", *consent, *stack.file_arguments(), *extra)
    if code:
        return code
    sweep(stack)
    if purge:
        services = stack.service_folder  # named by a file that goes with the stack's folder
        code, _ = stack.pulumi("stack", "rm", "--yes", "--preserve-config")
        shutil.rmtree(stack.folder, ignore_errors=True)
        forget_clone()
        if services.exists():
            print(f"==> kept {services}: local.data_dir names it, so it is yours to remove", file=sys.stderr)
    return code


def forget_clone() -> None:
    """Remove state folder and passphrase, unless another stack needs them: nobody could destroy it without them."""
    if not environment.STATE.exists():
        return
    states = environment.own_backend() / ".pulumi" / "stacks"
    state_files = [path for pattern in ("*.json*", "*/*.json*") for path in states.glob(pattern)]
    names = {path.name.partition(".json")[0] for path in state_files if path.suffix in {".json", ".gz"}}
    names |= {path.name for path in environment.STATE.iterdir() if path.is_dir() and path != environment.own_backend()}
    if names:
        print(f"==> kept {environment.STATE.name}, for other stacks: {', '.join(sorted(names))}", file=sys.stderr)
    else:
        shutil.rmtree(environment.STATE)


def sweep(stack: Stack) -> None:
    """End what an interrupted `up` started and the state never heard of. Only a local stack has such things."""
    if stack.is_local and stack.service_folder.exists():
        from infra.local.leftovers import end_leftovers

        end_leftovers(stack.service_folder)


def provide_for(name: str) -> None:
    """Install what the stack `name` needs; one without settings yet is the local stack as it comes."""
    stack = Stack(name=name, variables={})
    if stack.settings_file.exists():
        provide(stack)
    else:
        environments.ensure_for(LOCAL)
        sample_model.ensure()


def settings_file(name: str) -> Path:
    """Return the file with the settings of a stack; it need not exist."""
    return Stack(name=name, variables={}).settings_file


def outputs(name: str) -> int:
    """Print a stack's outputs as JSON, secrets included."""
    os.environ.setdefault("PULUMI_SKIP_UPDATE_CHECK", "true")
    code, _ = Stack(name=name).pulumi("stack", "output", "--json", "--show-secrets")
    return code
