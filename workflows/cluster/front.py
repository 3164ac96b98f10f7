"""The merged path space of nemo_url on loopback: a reverse proxy in a thread, by the gateway of the local stack.

It streams both ways and knows no limit of size. Paths that no prefix covers are answered 404, as an ingress would.
"""

import socket
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from embedded.gateway.app import METHODS, Gateway
from workflows.cluster.forwarder import HOST

_GRACE_S = 2
_START_S = 10.0


class Front:
    """Serves `routes` (path prefix -> upstream URL) on a port of loopback from `start` to `stop`."""

    def __init__(self, port: int, routes: Mapping[str, str]) -> None:
        """OSError when the port is taken."""
        gateway = Gateway(dict(routes))

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            yield
            await gateway.client.aclose()

        app = Starlette(routes=[Route("/{path:path}", gateway.proxy, methods=METHODS)], lifespan=lifespan)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, proxy_headers=False, timeout_graceful_shutdown=_GRACE_S
        )
        self._socket = socket.create_server((HOST, port))
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="front", daemon=True)

    def start(self) -> None:
        """Return at once: connections wait until it serves."""
        self._thread.start()

    def stop(self) -> None:
        """Open requests get a moment to finish."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_START_S)
        self._socket.close()
