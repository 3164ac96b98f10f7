"""Are the ports of a stack free, and if not, who holds them? Asked before anything is started."""

from collections.abc import Collection, Mapping

import psutil

from infra.local.processes import describe
from nemostack.ports import is_free


def holder(port: int) -> int | None:
    """Pid of the process that listens on `port`; None if it cannot be told (another user's)."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    listening = [c.pid for c in connections if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port]
    return next((pid for pid in listening if pid), None)


def conflicts(ports: Mapping[str, int], own: Collection[int]) -> list[str]:
    """One line for each port that a process other than `own` (pids) holds."""
    lines = []
    for service, port in ports.items():
        if is_free(port):
            continue
        pid = holder(port)
        if pid in own:
            continue
        who = describe(pid) if pid else "a process of another user"
        lines.append(f"port {port} ({service}) is held by {who}: stop it, or set another nemostack:local.base_port")
    return lines
