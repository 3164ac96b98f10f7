"""Brings a stack up and down in one command, from nothing, after an interruption, or when nothing is to do.

On this machine (target `local`) nothing is asked. Elsewhere things cost money and hold data: Pulumi shows a preview and
asks, and what an interrupted command left half done is for the user to settle.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from infra.local.accelerator import Choice, choose
from nemostack.errors import ToolchainError
from operations.stacks import environment
from operations.stacks.stack import LOCAL, PROJECT, Stack, qualified
from operations.toolchain import environments, sample_model

CHOICES_OF_MODEL = ("local.base_model=", "local.base_model.path=")


def up(name: str, settings: list[str], extra: list[str], *, yes: bool) -> int:
    """Create or update a stack. `settings` are `key=value`, kept in the stack's file; `yes` answers every question."""
    stack = Stack(name=name)
    written_now = stack.write_settings()
    consent = stack.consent(yes=yes)
    if written_now:
        tell_of_new_stack(stack, settings)
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


def tell_of_new_stack(stack: Stack, settings: Sequence[str]) -> None:
    """Say what a stack is that had no settings yet: its name alone chooses nothing."""
    product = chosen_value(stack, settings, "product") or "microservices"
    other = "" if product == "platform" else "; another stack for NVIDIA's NeMo Platform: --config product=platform"
    print(f"==> stack {stack.name} is new: target {LOCAL}, product {product}{other}", file=sys.stderr)


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
