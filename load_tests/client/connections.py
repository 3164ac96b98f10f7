"""Connections that know when the kernel had received what is read from them.

A process that reads a thousand streams is late for some of them: it serves one after the other, collects garbage, waits
for a core. Linux stamps each packet as it comes in (`SO_TIMESTAMPNS`), so a stamp of the kernel is right however late
the process is; it is that of the last packet of a read. Where there is none, the stamp is the moment of the read: with
TLS, whose packets OpenSSL reads, and on other systems.

geventhttpclient asks `select` whether an idle connection is still usable, which refuses descriptors above 1,023: with a
thousand streams each request would open a connection of its own. `poll` has no such limit.
"""

import contextlib
import select
import socket
import struct
import sys
import time
from typing import Any, Final

import gevent.local
import gevent.socket
from gevent.monkey import get_original
from geventhttpclient.connectionpool import ConnectionPool

SO_TIMESTAMPNS: Final = 35
"""Of Linux, on all processors but SPARC and PA-RISC; Python has no name for it."""
_TIMESPEC: Final = struct.Struct("@ll")
_ROOM: Final = socket.CMSG_SPACE(_TIMESPEC.size)
_poll = get_original("select", "poll")  # gevent's makes a watcher for each question


def is_idle(connection: gevent.socket.socket | None) -> bool:
    """Whether a connection that nobody uses is still open: one that was closed, or has data, is readable."""
    if connection is None or connection.fileno() < 0:
        return False
    poll = _poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)


class StampedSocket(gevent.socket.socket):  # type: ignore[misc]  # gevent leaves it untyped
    """A socket whose `arrived` is when the last data read had come, in seconds of `time.perf_counter`.

    After a read that left nothing behind it waits, where gevent's would ask the kernel in vain before it does.
    """

    arrived = 0.0
    _emptied = False

    def ask_for_stamps(self) -> None:
        """Let the kernel stamp what comes in; where it cannot, the stamp is the moment of the read."""
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # some sandboxes of containers do not know the option
                self.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Read as `socket.recv` does, and set `arrived`."""
        if self._emptied:
            self._wait(self._read_event)
        data, ancillary, _, _ = self.recvmsg(bufsize, _ROOM, flags)
        self._emptied = len(data) < bufsize
        now, wall_ns = time.perf_counter(), time.time_ns()
        for _, kind, value in ancillary:
            if kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack(value)
                # a clock that was set back between the two gives no age
                now -= max(0, wall_ns - (seconds * 1_000_000_000 + nanoseconds)) * 1e-9
        self.arrived = now
        return bytes(data)


class Connections(ConnectionPool):  # type: ignore[misc, unused-ignore]  # unknown in the environment of the services
    """A pool of them."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._taken = gevent.local.local()

    def _create_tcp_socket(self, family: int, socktype: int, protocol: int) -> gevent.socket.socket:
        created = StampedSocket(family, socktype, protocol)
        created.ask_for_stamps()
        return created

    def _is_socket_alive(self, sock: gevent.socket.socket) -> bool:
        return is_idle(sock)

    def get_socket(self) -> gevent.socket.socket:
        """Take a connection for this greenlet's next request."""
        self._taken.connection = super().get_socket()
        return self._taken.connection

    @property
    def taken(self) -> StampedSocket:
        """The connection that this greenlet took last; it may have been given back since."""
        connection: StampedSocket = self._taken.connection
        return connection
