"""The merged path space of nemo_url on loopback: the path proxy in a thread of its own.

It streams both ways and knows no limit of size. Paths that no prefix covers are answered 404, as an ingress would.
"""

import socket
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from nemostack.path_proxy import METHODS, PathProxy
from operations.port_forward.forwarder import HOST

_GRACE_S = 2
_START_S = 10.0


class MergedHost:
    """Serves `routes` (path prefix -> upstream URL) on a port of loopback from `start` to `stop`."""

    def __init__(self, port: int, routes: Mapping[str, str]) -> None:
        """OSError when the port is taken."""
        proxy = PathProxy(dict(routes))

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            yield
            await proxy.client.aclose()

        app = Starlette(routes=[Route("/{path:path}", proxy.forward, methods=METHODS)], lifespan=lifespan)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, proxy_headers=False, timeout_graceful_shutdown=_GRACE_S
        )
        self._socket = socket.create_server((HOST, port))
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="merged-host", daemon=True
        )

    def start(self) -> None:
        """Return at once: connections wait until it serves."""
        self._thread.start()

    def stop(self) -> None:
        """Open requests get a moment to finish."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_START_S)
        self._socket.close()
