"""Ends what an interrupted `pulumi up` started before its state could say so. For use after `pulumi destroy`."""

from pathlib import Path

from infra.local.daemon import Daemon
from infra.local.folders import StackFolder


def end_leftovers(folder: Path) -> None:
    """Leave no process, port or configuration of the stack in `folder`; logs and data stay."""
    daemon = Daemon(StackFolder(folder))
    if daemon.folder.supervisor.exists():
        daemon.stop()
        daemon.folder.remove_runtime()
