"""The skeleton every embedded service starts from: settings, health routes, error answers."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Callable

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from embedded.common import errors

HEALTH_PATHS = ("/health", "/v1/health", "/v1/health/ready", "/v1/health/live", "/status")


class ServiceSettings(BaseModel):
    """What every service is told. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to bind; loopback unless someone decides otherwise")
    port: int = Field(ge=1, le=65535)
    data_dir: Path = Field(description="Folder that belongs to this service alone")


def create_service(
    title: str, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None
) -> FastAPI:
    """A FastAPI app that answers health checks and ApiErrors; the service adds its routes."""
    app = FastAPI(title=title, lifespan=lifespan)
    errors.install(app)

    def healthy() -> dict[str, str]:
        return {"status": "healthy", "object": "health.response", "message": f"{title} is ready"}

    for path in HEALTH_PATHS:
        app.add_api_route(path, healthy, methods=["GET"], include_in_schema=False)
    return app


def serve(app: FastAPI, settings: ServiceSettings) -> None:
    """Run `app` until stopped."""
    uvicorn.run(app, host=settings.host, port=settings.port, log_level="info", access_log=False)
