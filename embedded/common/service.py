"""The skeleton every embedded service starts from: settings, health routes, error answers, a bounded stop.

SIGTERM and SIGINT end a service within STOP_WITHIN_S: open requests get GRACE_S to finish, then are cancelled, then
the app's lifespan ends. Exit code 0, or 1 if the process had to be cut off. Refuses bodies over `max_body_bytes`.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embedded.common import errors

HEALTH_PATHS = ("/health", "/v1/health", "/v1/health/ready", "/v1/health/live", "/status")
MAX_BODY_BYTES = 64 * 1024**2  # JSON only; files go to the Data Store, which streams
GRACE_S = 2
STOP_WITHIN_S = 4.5


class ServiceSettings(BaseModel):
    """What every service is told. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to bind; loopback unless someone decides otherwise")
    port: int = Field(ge=1, le=65535)
    data_dir: Path = Field(description="Folder that belongs to this service alone")


class BodyLimit:
    """ASGI middleware: 413 for a request whose body is larger than `at_most` bytes, announced or not."""

    def __init__(self, app: ASGIApp, at_most: int) -> None:
        self.app, self.at_most = app, at_most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its body."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.at_most:
                raise errors.TooLarge(self.at_most)
            return message

        await self.app(scope, counted, send)


def create_service(
    title: str,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    max_body_bytes: int | None = MAX_BODY_BYTES,
) -> FastAPI:
    """Make a FastAPI app that answers health checks and ApiErrors; the service adds its routes."""
    app = FastAPI(title=title, lifespan=lifespan)
    errors.install(app)
    if max_body_bytes is not None:
        app.add_middleware(BodyLimit, at_most=max_body_bytes)

    def healthy() -> dict[str, str]:
        return {"status": "healthy", "object": "health.response", "message": f"{title} is ready"}

    for path in HEALTH_PATHS:
        app.add_api_route(path, healthy, methods=["GET"], include_in_schema=False)
    return app


def _cut_off() -> None:
    print(f"did not stop within {STOP_WITHIN_S} s: cut off", file=sys.stderr, flush=True)
    os._exit(1)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        limit = threading.Timer(STOP_WITHIN_S, _cut_off)
        limit.daemon = True
        limit.start()
        super().handle_exit(sig, frame)


def serve(app: ASGIApp, settings: ServiceSettings) -> None:
    """Run `app` until SIGTERM or SIGINT; then SystemExit(0). Call from the main thread."""
    # uvicorn shuts down, then raises the signal again for whoever handled it before: that is _leave.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="info",
        access_log=False,
        proxy_headers=False,  # the peer is the peer, whatever X-Forwarded-For says
        timeout_graceful_shutdown=GRACE_S,
    )
    _Server(config).run()
