"""A Pulumi stack in a folder of its own, driven through the CLI: what a user types, what the engine did, what is left.

Program, state, passphrase and plugin are the test's own; nothing of the user's Pulumi is touched.
"""

import functools
import json
import os
import shlex
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from operations.stacks import environment
from operations.toolchain import programs
from simulator.api import wait
from simulator.processes import RARE_COLLECTION
from simulator.provider import plugin

NAME = "test"
TIMEOUT_S = 900.0
"""Longer than the engine's own limit for one resource, ten minutes, whose message names the resource."""
DYNAMIC = "pulumi:providers:pulumi-python"
QUIET = ("same", "read", "refresh")
CHECKPOINTS_OFF = "PULUMI_SKIP_CHECKPOINTS"
LIST_PACKAGES = ("-m", "pip", "list", "-v", "--format", "json")
"""How the language host asks for the packages of the environment, before every command."""


@dataclass(frozen=True)
class Update:
    """One finished command of the engine."""

    code: int
    output: str
    events: tuple[dict[str, Any], ...]

    @property
    def changes(self) -> dict[str, int]:
        """How many resources of which operation, without those that stayed the same or were only read.

        Nor the provider of dynamic resources: it holds the whole configuration, so that any setting changes it.
        """
        summary: Counter[str] = Counter()
        for event in self.events:
            if "summaryEvent" in event:
                summary = Counter(event["summaryEvent"]["resourceChanges"])
        summary -= Counter(what["op"] for what in self._steps() if what["type"] == DYNAMIC)
        return {operation: count for operation, count in summary.items() if operation not in QUIET}

    def _steps(self) -> Iterator[dict[str, Any]]:
        return (event["resourcePreEvent"]["metadata"] for event in self.events if "resourcePreEvent" in event)

    @property
    def touched(self) -> dict[str, set[str]]:
        """Operation -> names of the resources that it was done to, dynamic resources' provider apart."""
        by_operation: dict[str, set[str]] = {}
        for what in self._steps():
            if what["op"] not in QUIET and what["type"] != DYNAMIC:
                by_operation.setdefault(what["op"], set()).add(what["urn"].rsplit("::", 1)[1])
        return by_operation

    @property
    def errors(self) -> str:
        """Everything that was reported as an error."""
        diagnostics = (event["diagnosticEvent"] for event in self.events if "diagnosticEvent" in event)
        return "\n".join(entry["message"] for entry in diagnostics if entry["severity"] == "error")


@dataclass
class PulumiStack:
    """A stack `test` of the program in `folder`.

    `thrifty`: the engine does the same for less than half of its processor time. It writes its state when a command
    ends, also with an error, and not at every step, keeps no log of its own, collects garbage seldom, and is told of
    the installed packages what pip said once. A command that is to be killed (`begin`) writes its state as a user's.
    """

    folder: Path
    kubeconfig: Path
    environment: dict[str, str] = field(default_factory=dict)
    thrifty: bool = False
    _runs: int = 0

    def __post_init__(self) -> None:
        """Give it a state, a passphrase and a PATH with the programs that it needs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = self.folder.parent / f"{self.folder.name}-pulumi"
        (state / "backend").mkdir(parents=True)
        program_paths = programs.ensure(["pulumi", "helm"])
        own = plugin.install(state / "bin", state / "home")
        if self.thrifty:
            (state / "home").mkdir(exist_ok=True)
            (state / "home" / "logs").touch()  # a file where the engine would make the folder of its logs
            own_python = {"PULUMI_PYTHON_CMD": str(python_that_knows_its_packages(state))}
            self.environment = {CHECKPOINTS_OFF: "true", **RARE_COLLECTION, **own_python, **self.environment}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")}
        clean |= {
            "PULUMI_HOME": str(state / "home"),
            "PULUMI_BACKEND_URL": (state / "backend").as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": "for tests",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DEBUG_COMMANDS": "true",  # for --event-log
            "PULUMI_PYTHON_CMD": str(environment.VENV / "bin" / "python"),
            "PYTHONPATH": environment.python_path(),
            "KUBECONFIG": str(self.kubeconfig),
        }
        first = [own.pop("PATH").split(os.pathsep)[0]] if "PATH" in own else []
        clean |= own
        clean["PATH"] = os.pathsep.join(
            [*first, str(Path(program_paths["helm"]).parent), environment.search_path(program_paths)]
        )
        self.environment = clean | self.environment
        self._state = state

    def program(self, source: str, name: str = "tested") -> None:
        """Write a Python program as the project's."""
        (self.folder / "Pulumi.yaml").write_text(f"name: {name}\nruntime: python\n")
        (self.folder / "__main__.py").write_text(source)

    def init(self) -> None:
        self.run("stack", "init", NAME)

    def run(self, *command: str, code: int = 0) -> str:
        """Run a pulumi command to its end; its output. Fails unless it ends with `code`."""
        done = self._pulumi(*command)
        assert done.returncode == code, f"pulumi {' '.join(command)} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def _pulumi(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                ["pulumi", *arguments, "--non-interactive", "--color", "never"],
                cwd=self.folder,
                env=self.environment,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=TIMEOUT_S,
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except subprocess.TimeoutExpired as error:
            output = (error.output or b"").decode(errors="replace")  # bytes, whatever `text` says
            raise AssertionError(
                f"pulumi {' '.join(arguments)} did not end within {TIMEOUT_S:g} s; what it said:\n{output}"
            ) from None

    def begin(self, *command: str) -> "subprocess.Popen[bytes]":
        """Start a pulumi command that changes something, in a session of its own; whoever calls it ends it."""
        return subprocess.Popen(
            ["pulumi", *command, "--yes", "--skip-preview", "--stack", NAME, "--non-interactive", "--color", "never"],
            cwd=self.folder,
            env={name: value for name, value in self.environment.items() if name != CHECKPOINTS_OFF},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def kill_up(self, until: Callable[[], Any], *, spare_plugin: bool = False) -> None:
        """Begin an `up` and kill the engine and all that it started as soon as `until` holds.

        Plugins lead sessions of their own. One that is spared outlives its engine, and ends what it is doing.
        """
        with self.begin("up") as engine:
            wait("the moment to kill", until)
            started = psutil.Process(engine.pid).children(recursive=True)
            plugins = [process for process in started if spare_plugin and _is_plugin(process)]
            spared = {*plugins, *(child for plugin in plugins for child in plugin.children(recursive=True))}
            for process in {psutil.Process(engine.pid), *started} - spared:
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def _update(self, *command: str, fails: bool) -> Update:
        self._runs += 1
        log = self._state / f"events-{self._runs}.json"
        done = self._pulumi(*command, "--stack", NAME, "--event-log", str(log))
        events = tuple(json.loads(line) for line in log.read_text().splitlines()) if log.is_file() else ()
        assert (done.returncode != 0) == fails, f"pulumi {' '.join(command)}: {done.returncode}\n{done.stdout}"
        return Update(done.returncode, done.stdout, events)

    def preview(self, *more: str, fails: bool = False) -> Update:
        """Show what `up` would do."""
        return self._update("preview", *more, fails=fails)

    def up(self, *more: str, fails: bool = False) -> Update:
        """Bring the cluster to what the program says."""
        return self._update("up", "--yes", "--skip-preview", *more, fails=fails)

    def refresh(self, *more: str, fails: bool = False) -> Update:
        """Bring the state to what the cluster says."""
        return self._update("refresh", "--yes", "--skip-preview", *more, fails=fails)

    def destroy(self, *more: str, fails: bool = False) -> Update:
        return self._update("destroy", "--yes", "--skip-preview", *more, fails=fails)

    def outputs(self) -> dict[str, Any]:
        """Outputs of the program, secrets in plain text."""
        outputs: dict[str, Any] = json.loads(self.run("stack", "output", "--json", "--show-secrets", "--stack", NAME))
        return outputs

    def export(self) -> dict[str, Any]:
        """Return the state as the engine keeps it, secrets encrypted."""
        state: dict[str, Any] = json.loads(self.run("stack", "export", "--stack", NAME))
        return state

    def load(self, state: dict[str, Any]) -> None:
        """Replace the state."""
        file = self._state / "import.json"
        file.write_text(json.dumps(state))
        self.run("stack", "import", "--file", str(file), "--stack", NAME)

    def resources(self) -> list[dict[str, Any]]:
        """Return the resources in the state."""
        resources: list[dict[str, Any]] = self.export()["deployment"].get("resources") or []
        return resources

    def kinds(self) -> Counter[str]:
        """How many resources of which type are in the state."""
        return Counter(resource["type"] for resource in self.resources())


def _is_plugin(process: psutil.Process) -> bool:
    """Whether a process is the Kubernetes plugin, ours or the official one."""
    command = " ".join(process.cmdline())
    return "pulumi-resource-kubernetes" in command or "simulator.provider" in command


def begin_stack(folder: Path, kubeconfig: Path, program: str) -> PulumiStack:
    """Create a thrifty stack with a program. What it makes is the caller's to remove."""
    stack = PulumiStack(folder, kubeconfig, thrifty=True)
    stack.program(program)
    stack.init()
    return stack


@functools.cache
def installed_packages() -> str:
    """Ask pip for the packages of the environment, as the language host does."""
    command = [str(environment.VENV / "bin" / "python"), *LIST_PACKAGES]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def python_that_knows_its_packages(folder: Path) -> Path:
    """Write a Python into `folder` that is the environment's, but for the answer of LIST_PACKAGES."""
    answer, program = folder / "packages.json", folder / "python"
    answer.write_text(installed_packages())
    python = shlex.quote(str(environment.VENV / "bin" / "python"))
    program.write_text(
        f'#!/bin/sh\n[ "$*" != {shlex.quote(" ".join(LIST_PACKAGES))} ] || exec cat {shlex.quote(str(answer))}\n'
        f'exec {python} "$@"\n'
    )
    program.chmod(0o755)
    return program
