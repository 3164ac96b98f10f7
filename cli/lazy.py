"""A group whose commands are imported only when they run: `--help` and completion of names need not wait for them."""

import importlib
from dataclasses import dataclass, field
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from nemostack.imports import without_collector


@dataclass(frozen=True)
class LazyCommand:
    """A command, or a group of commands, by the name of its function or Typer app."""

    place: str
    """module:attribute"""
    summary: str
    """One line for the list of commands."""
    panel: str
    context_settings: dict[str, Any] = field(default_factory=dict)

    def load(self, name: str) -> Any:
        """Import the module, and make the command of click that the parser wants."""
        module, _, attribute = self.place.partition(":")
        with without_collector():
            target = getattr(importlib.import_module(module), attribute)
        if not isinstance(target, typer.Typer):
            app = typer.Typer(add_completion=False)
            app.command(name, context_settings=self.context_settings)(target)
            target = app
        command: Any = typer.main.get_command(target)
        command.name = name
        return command

    def stub(self, name: str) -> TyperCommand:
        """Make a command that can be listed and nothing else."""
        return TyperCommand(name, help=self.summary, rich_help_panel=self.panel)


class LazyGroup(TyperGroup):
    """Commands of `table` by name, in its order."""

    table: ClassVar[dict[str, LazyCommand]] = {}
    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        del ctx
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command itself, or its stub while all are listed."""
        del ctx
        command = self.table.get(cmd_name)
        if command is None:
            return None
        return command.stub(cmd_name) if self._listing else command.load(cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help of the group from the summaries of its commands."""
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False
