"""Routes that NIM's API has and vLLM's server lacks, put on vLLM's own app: nothing is proxied, no token is touched.

Adds `/v1/aliases` (ours alone, see aliases.py), `/v1/health/{ready,live}`, `/v1/health`, `/status`, `/v1/metrics`,
`GET /v1/models/{id}`, and errors in both shapes (`{"error": {...}}` of OpenAI, `{"object": "error", "message": ...}` of
older vLLM and NIM).
Refuses every route that is not on the list below: vLLM's server can also load adapters from any path, pause the
engine and speak several other vendors' APIs.
"""

import json
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from vllm.exceptions import VLLMNotFoundError
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from embedded.nim.alias_routes import add_alias_routes
from embedded.nim.aliases import AliasBook
from embedded.nim.nim_metrics import NimMetrics
from embedded.nim.synchronizer import Synchronizer

SERVED_BY_VLLM = {
    "/health",
    "/metrics",
    "/version",
    "/tokenize",
    "/detokenize",
    "/tokenizer_info",
    "/v1/models",
    "/v1/completions",
    "/v1/chat/completions",
}


def keep_only_served_routes(app: FastAPI) -> None:
    """Drop vLLM's other routes. Also opens what FastAPI keeps folded away (routers included as one route)."""
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", None) in SERVED_BY_VLLM]
    missing = SERVED_BY_VLLM - {getattr(route, "path", None) for route in app.router.routes}
    assert not missing, f"this vLLM has no {sorted(missing)}: adapt embedded/nim/nim_routes.py"


def add_routes(
    app: FastAPI, engine: AsyncLLM, metrics: NimMetrics, synchronizer: Synchronizer, book: AliasBook
) -> None:
    """Put NIM's routes on `app`, whose state vLLM has set up."""

    def health(message: str, status: int = 200) -> JSONResponse:
        return JSONResponse({"object": "health.response", "message": message}, status_code=status)

    async def ready() -> JSONResponse:
        try:
            await engine.check_health()
        except EngineDeadError:
            return health("The engine has died.", 503)
        return health("Service is ready.")

    async def live() -> JSONResponse:
        return health("Service is live.")

    async def counters() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def not_served(model_id: str) -> str | None:
        """Why a model is not served; None when it is."""
        listed = await app.state.openai_serving_models.show_available_models()
        if any(card.id == model_id for card in listed.data):
            return None
        return synchronizer.trouble(model_id) or "no such model is served"

    async def model(request: Request, model_id: str) -> JSONResponse:
        if (alias := book.get(model_id)) is not None:
            card = {"id": model_id, "object": "model", "created": 0, "owned_by": "nemostack", "root": alias.stable}
            return JSONResponse(card)
        listed = await request.app.state.openai_serving_models.show_available_models()
        for card in listed.data:
            if card.id == model_id:
                return JSONResponse(card.model_dump())
        reason = synchronizer.trouble(model_id)
        why = f" It is announced, but {reason}" if reason else ""
        raise VLLMNotFoundError(f"The model `{model_id}` does not exist.{why}")

    for path in ("/v1/health/ready", "/v1/health", "/status"):
        app.add_api_route(path, ready, methods=["GET"])
    app.add_api_route("/v1/health/live", live, methods=["GET"])
    app.add_api_route("/v1/metrics", counters, methods=["GET"])
    app.add_api_route("/v1/models/{model_id:path}", model, methods=["GET"])
    add_alias_routes(app, book, not_served)


class BothErrorShapes:
    """ASGI middleware: an error answer `{"error": {...}}` gets the same keys at the top. Others pass untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hold back the start of an error answer until its body is known."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        held: Message | None = None
        body = b""

        async def send_both(message: Message) -> None:
            nonlocal held, body
            if message["type"] == "http.response.start" and message["status"] >= 400:
                held = message
                return
            if held is None:
                await send(message)
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                start, held = held, None
                content = both_shapes(body)
                headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
                await send({**start, "headers": [*headers, (b"content-length", str(len(content)).encode())]})
                await send({"type": "http.response.body", "body": content})

        await self.app(scope, receive, send_both)


def both_shapes(body: bytes) -> bytes:
    """`body` with the old keys beside `error`; as it is when it is no such error."""
    try:
        answer: Any = json.loads(body)
        error = answer["error"]
        old = {"object": "error", "message": error["message"], "type": error["type"], "code": error["code"]}
    except (ValueError, KeyError, TypeError):
        return body
    return json.dumps({**old, "error": error}).encode()
