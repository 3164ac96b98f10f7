"""The judge's OpenAI-compatible routes: `/v1/models` and `/v1/chat/completions`, also streamed.

Faithful: request and answer shapes, usage, errors. Reduced: one choice; sampling parameters are accepted and change
nothing, as the same prompt always gets the same rating; streams carry the whole reply in one piece.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from embedded.common.service import create_service
from embedded.judge import Settings
from embedded.judge.prompt import PromptError, find_texts
from embedded.judge.similarity import Embedder, NoEmbeddingModelError

# Cosines at which the rating rises to 2, 3, 4 and 5. Unrelated English sentences are near 0, paraphrases above 0.8.
THRESHOLDS = (0.2, 0.45, 0.65, 0.85)


class ChatRequest(BaseModel):
    """What is read of a request; the rest of OpenAI's parameters is accepted."""

    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool = False
    stream_options: dict[str, Any] | None = None


def rating(cosine: float) -> int:
    """Map a cosine to 1..5."""
    return 1 + sum(cosine >= threshold for threshold in THRESHOLDS)


def reply(cosine: float) -> str:
    """Word the rating, saying what it is."""
    return (
        f"I am no language model: this rating is the similarity of the answer to the ground truth (cosine {cosine:.3f} "
        f"of all-MiniLM-L6-v2 embeddings), mapped to 1..5.\nRATING: {rating(cosine)}"
    )


def _error(status: int, message: str, kind: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": kind, "code": status}, "detail": message}, status)


def _frames(common: dict[str, Any], text: str, usage: dict[str, int] | None) -> Iterator[str]:
    chunk = common | {"object": "chat.completion.chunk"}
    for delta, reason in (({"role": "assistant", "content": ""}, None), ({"content": text}, None), ({}, "stop")):
        yield f"data: {json.dumps(chunk | {'choices': [{'index': 0, 'delta': delta, 'finish_reason': reason}]})}\n\n"
    if usage is not None:
        yield f"data: {json.dumps(chunk | {'choices': [], 'usage': usage})}\n\n"
    yield "data: [DONE]\n\n"


def create_app(settings: Settings) -> FastAPI:
    """Make the judge. The embedding model loads on the first request to `/v1`."""
    embedder = Embedder()

    app = create_service("Judge")
    name = settings.model_id
    about = {"id": name, "object": "model", "created": int(time.time()), "owned_by": "nemostack", "root": name}

    @app.get("/v1/models")
    def models() -> Any:
        embedder.start()  # who lists the models will ask soon; until then nothing heavy is loaded
        return {"object": "list", "data": [about]}

    @app.get("/v1/models/{model_id:path}", response_model=None)
    def model(model_id: str) -> Any:
        return about if model_id == name else _error(404, f"The model `{model_id}` does not exist.", "NotFoundError")

    @app.post("/v1/chat/completions", response_model=None)
    async def chat(request: ChatRequest) -> Any:
        if request.model != settings.model_id:
            message = f"The model `{request.model}` does not exist; here is {settings.model_id}."
            return _error(404, message, "NotFoundError")
        try:
            truth, answer = find_texts(request.messages)
        except PromptError as error:
            return _error(422, str(error), "UnprocessableEntityError")
        try:
            cosine, pieces = await asyncio.wrap_future(embedder.similarity(truth, answer)) if answer else (0.0, 0)
        except NoEmbeddingModelError as error:
            return _error(503, str(error), "ServiceUnavailableError")
        text = reply(cosine)
        produced = len(text.split())
        usage = {"prompt_tokens": pieces, "completion_tokens": produced, "total_tokens": pieces + produced}
        common = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": settings.model_id}
        if request.stream:
            shown_usage = usage if (request.stream_options or {}).get("include_usage") else None
            return StreamingResponse(_frames(common, text, shown_usage), media_type="text/event-stream")
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
            "logprobs": None,
        }
        return common | {"object": "chat.completion", "choices": [choice], "usage": usage}

    return app
