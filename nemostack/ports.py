"""Ports on loopback that are free, chosen so that they stay free until a server binds them.

The kernel gives outgoing connections ports of a range of its own; a free port of that range can be taken between its
choice and its use. So ports are chosen at random outside of it. Refuses to look at other addresses than loopback.
"""

import contextlib
import errno
import random
import socket
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
LOWEST, HIGHEST = 10000, 32000
"""Where ports are looked for; Linux begins its own range above."""
OUTGOING: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def outgoing_ports() -> range:
    """Return the ports from which the kernel picks for outgoing connections; Linux's defaults where it does not say."""
    low, high = 32768, 60999
    with contextlib.suppress(OSError, ValueError):
        low, high = map(int, OUTGOING.read_text().split())
    return range(low, high + 1)


def is_free(port: int) -> bool:
    """Return whether a server could listen on a port of loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do; TIME_WAIT is no obstacle
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def free_port() -> int:
    """Return a port that nobody listens on now. Raises OSError when there is none."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return different ports that nobody listens on now. Raises OSError when there are not as many."""
    outgoing = outgoing_ports()
    candidates = [port for port in range(LOWEST, HIGHEST) if port not in outgoing] or list(range(LOWEST, HIGHEST))
    random.shuffle(candidates)
    ports: list[int] = []
    for port in candidates:
        if len(ports) == count:
            break
        if is_free(port):
            ports.append(port)
    if len(ports) < count:
        raise OSError(errno.EADDRINUSE, f"no {count} free ports on {HOST} from {LOWEST} to {HIGHEST}")
    return ports
