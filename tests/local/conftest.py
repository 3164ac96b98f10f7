"""A clone of the program and the tools with fast fake services, under the real Pulumi engine.

The clone has the real `infra/`, `tools/` and Pulumi files; only what `.venv-embedded/bin/python -m embedded.serve` and
`-m mlflow` run is fake (tests/local/fakes), so that a stack is up in seconds. What is proven is what Pulumi and
supervisor do with services, not the services.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.config import stack_file
from nemostack.clone import ROOT
from operations.toolchain import environments
from simulator import ports
from simulator.processes import RARE_COLLECTION

TIMEOUT_S = 240
DEAD_PROXY = "http://127.0.0.1:9"  # what is asked through it fails: nothing here may be
PORTS_PER_STACK = 8
SECOND_STACK = PORTS_PER_STACK  # how far from the first stack's ports a second one's begin


@dataclass(frozen=True)
class Clone:
    path: Path
    base_port: int

    def popen(self, *command: str, **options: Any) -> Any:
        """Start a command in the clone, in a session of its own."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")}
        env.pop("PYTHONPATH", None)
        env["PULUMI_HOME"] = str(self.path / "pulumi-home")
        env |= RARE_COLLECTION
        env |= dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), DEAD_PROXY)
        return subprocess.Popen(
            [str(self.path / ".venv" / "bin" / "python"), "-m", "cli", *command],
            cwd=self.path,
            env=env,
            text=True,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            **options,
        )

    def nemostack(self, *command: str, code: int = 0) -> Any:
        """Run a command to its end, and return its output. Fails unless it ends with `code`."""
        with self.popen(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            output, _ = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == code, output
        return output

    def pulumi(self, *command: str, code: int = 0) -> Any:
        return self.nemostack(
            "toolchain", "run", "--", "pulumi", *command, "--stack", "local", "--color", "never", code=code
        )

    def up(self, *more: str, code: int = 0) -> Any:
        return self.nemostack("up", "--color", "never", "--suppress-outputs", *more, code=code)

    def down(self) -> Any:
        return self.nemostack("down", "--color", "never")

    def order(self, name: str) -> None:
        (self.path / "orders" / name).touch()

    def countermand(self) -> None:
        for order in (self.path / "orders").iterdir():
            order.unlink()

    def setting(self, old: str, new: str) -> None:
        """Change the stack's file."""
        file = self.path / "Pulumi.local.yaml"
        text = file.read_text()
        assert text.count(old) == 1
        file.write_text(text.replace(old, new))

    @property
    def stack(self) -> Any:
        return self.path / ".nemostack" / "local"

    def pid(self, service: str) -> Any:
        return json.loads((self.stack / "supervisor" / "programs" / f"{service}.pid.json").read_text())["pid"]

    def pids(self) -> Any:
        return {
            path.name.split(".")[0]: json.loads(path.read_text())["pid"]
            for path in (self.stack / "supervisor" / "programs").glob("*.pid.json")
        }

    def processes(self) -> Any:
        """Everything that runs from this clone: services, workers, supervisord, plugins, pulumi.

        Less Pulumi's language host: when its engine is killed it notices within minutes, and ends.
        """
        found = []
        for process in psutil.process_iter():
            try:
                inside = str(self.path) in " ".join(process.cmdline()) or process.cwd().startswith(str(self.path))
                host = process.name().startswith("pulumi-languag")
                if inside and not host and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def kill_engine(self) -> None:
        """Kill -9 the pulumi that runs here. Others of the clone's processes come and go meanwhile."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() == "pulumi":
                    process.kill()

    def listening(self) -> Any:
        taken = []
        for port in range(self.base_port, self.base_port + PORTS_PER_STACK):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    taken.append(port)
        return taken

    def git(self, *command: str) -> Any:
        return subprocess.run(["git", *command], cwd=self.path, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def base_port() -> Iterator[int]:
    """First of the ports of two stacks. They are free again for a while when a stack stops, so they stay held."""
    with ports.hold() as held:
        assert len(held) >= 2 * PORTS_PER_STACK
        yield held[0]


def environment_that_is_ready(clone: Path) -> None:
    """Make a `.venv-embedded` that is this Python, and is marked as up to date: nothing is to be installed."""
    locks = [clone / "embedded" / "requirements.txt", clone / "pyproject.toml"]
    for lock in locks:
        lock.touch()
    folder = clone / ".venv-embedded"
    folder.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (folder / name).symlink_to(Path(sys.prefix) / name)
    (folder / ".ready").write_text(environments.digest_of(*locks))


def platform_that_is_ready(clone: Path) -> None:
    """Lend a clone the repository's `.venv-platform`, marked as up to date: its services are the real ones."""
    own = ROOT / ".venv-platform"
    assert (own / ".ready").exists(), "`make engine` installs .venv-platform first"
    locks = [clone / "embedded" / "requirements-platform.txt", clone / "pyproject.toml"]
    locks[0].touch()
    folder = clone / ".venv-platform"
    folder.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (folder / name).symlink_to(own / name)
    (folder / ".ready").write_text(environments.digest_of(*locks))


@pytest.fixture
def clone(tmp_path: Path, base_port: int) -> Iterator[Any]:
    path = tmp_path / "clone"
    shutil.copytree(ROOT / "tests" / "local" / "fakes", path, ignore=shutil.ignore_patterns("__pycache__"))
    packages = ("cli", "infra", "nemostack", "operations", "workflows")
    for folder in packages:
        shutil.copytree(ROOT / folder, path / folder)  # with what is compiled already
    for file in ("Pulumi.yaml", "__main__.py", ".gitignore"):
        shutil.copy(ROOT / file, path)
    (path / "Pulumi.local.yaml").write_text(stack_file.annotated("local", "local"))
    (path / "orders").mkdir()
    (path / "pulumi-home").mkdir()
    (path / "pulumi-home" / "logs").touch()  # a file where the engine would make the folder of its logs
    (path / ".venv").symlink_to(Path(sys.prefix))
    environment_that_is_ready(path)
    made = Clone(path, base_port)
    made.setting("base_port: 18080", f"base_port: {made.base_port}")
    made.setting("# path: null", "path: acme/model-on-the-hub")  # nothing is to be fetched
    made.git("init", "--quiet")
    made.git("add", "Pulumi.yaml", *packages, "embedded", "mlflow", "__main__.py", ".gitignore")
    made.git("-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "--quiet", "-m", "start")
    yield made
    for process in made.processes():
        process.kill()
