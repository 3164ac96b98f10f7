"""The whole program as a stack on the simulated cluster, alone or shared by several tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from simulator import inventory
from simulator.api import DEFINITIONS
from simulator.control_plane import ControlPlane
from simulator.pulumi_stack import NAME, ROOT, PulumiStack, Update

KEY = "nvapi-only-for-tests"


class NemoStack(PulumiStack):
    """The program of this repository, with settings that a test can change."""

    settings: dict[str, Any]
    previewed: Update
    made: Update

    def configure(self, **settings: Any) -> None:
        """Write the stack file: what is said here over what was said before. Secrets stay."""
        self.settings = {**self.settings, **settings}
        file = self.folder / f"Pulumi.{NAME}.yaml"
        before = yaml.safe_load(file.read_text()) if file.is_file() else {}
        plain = {f"nemostack:{key}": value for key, value in self.settings.items()}
        secret = {key: value for key, value in before.get("config", {}).items() if "secure" in value}
        file.write_text(yaml.safe_dump({**before, "config": {**plain, **secret}}))


def create_stack(plane: ControlPlane, charts: Path, folder: Path, **settings: Any) -> NemoStack:
    """Create a stack of target `existing` with the stand-in charts, not yet up. Whoever calls it takes it down."""
    stack = NemoStack(folder / "program", plane.kubeconfig)
    stack.settings = {"target": "existing", "charts": {"source": str(charts)}, **settings}
    stack.settings.setdefault("storage", {"rwx_class_name": "shared"})
    stack.program((ROOT / "__main__.py").read_text(), name="nemostack")
    stack.init()
    stack.configure()
    stack.run("config", "set", "--secret", "nemostack:ngc_api_key", KEY, "--stack", NAME)
    return stack


class Shared:
    """A stack in the layout of the guide that is up for several tests: brought up for the first that asks.

    A test that fails, or takes it down, costs the next one another `up`, so that tests run alone and in any order.
    """

    def __init__(self, start: Callable[..., NemoStack], plane: ControlPlane, shared_objects: set[str]) -> None:
        self._start, self._plane, self._objects = start, plane, shared_objects
        self._stack: NemoStack | None = None

    def up(self) -> NemoStack:
        """Return the stack, up."""
        if self._stack and not self._stack.resources():
            self.forget()
        if not self._stack:
            before = inventory.contents(self._plane.api)
            self._stack = stack = self._start(layout="per-service")
            try:
                stack.previewed = stack.preview()
                stack.made = stack.up()
            except BaseException:
                self.down()
                raise
            self._objects |= inventory.contents(self._plane.api) - before
        return self._stack

    def down(self) -> None:
        """Destroy the stack, if it is up."""
        try:
            if self._stack and self._stack.resources():
                self._stack.destroy()
            inventory.remove(self._plane.api, {path for path in self._objects if self._plane.api.exists(path)})
        finally:
            self.forget()

    def forget(self) -> None:
        """Let the next test bring up another one."""
        self._stack = None
        self._objects.clear()


def forget_definitions(plane: ControlPlane) -> None:
    """Remove the kinds that stacks keep on purpose when they go."""
    inventory.remove(plane.api, {f"{DEFINITIONS}/{it['metadata']['name']}" for it in plane.api.items(DEFINITIONS)})
