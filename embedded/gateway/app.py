"""The gateway's application: the path proxy, and a health check of every upstream.

`/health` (and its siblings) says of each upstream whether it answers its own `/health`: 200 when all do, else 503.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Route

from embedded.common.service import HEALTH_PATHS
from embedded.gateway import Settings
from nemostack.path_proxy import METHODS, PathProxy


def create_app(settings: Settings) -> Starlette:
    """Build the app; nothing is connected until it is asked."""
    proxy = PathProxy(settings.routes)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await proxy.client.aclose()

    routes = [Route(path, proxy.health, methods=["GET"]) for path in HEALTH_PATHS]
    return Starlette(routes=[*routes, Route("/{path:path}", proxy.forward, methods=METHODS)], lifespan=lifespan)
