"""An OpenAI-compatible server that answers from a script: the independent oracle of the Evaluator's tests.

`ScriptedModel(answer)` asks `answer(prompt)` for text; an int instead of text is an HTTP error status. It counts how
often each prompt came, and how many requests were under way at once. Completions with `echo` and `logprobs` give
likelihoods from `likelihood(token ids) -> log probability of each token`.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

Answer = Callable[[str], str | int | dict[str, Any]]


@dataclass
class ScriptedModel:
    """See the module; `answer` may also give a whole message."""

    answer: Answer
    model_id: str = "scripted/model"
    delay_s: float = 0.0
    max_model_len: int = 2048
    finish_reason: Callable[[str], str] = lambda _prompt: "stop"
    likelihood: Callable[[list[int]], list[float]] | None = None
    asked: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    most_at_once: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def app(self) -> FastAPI:
        """Make the server."""
        app = FastAPI()

        @app.get("/health")
        def health() -> dict[str, str]:
            return {"status": "ok"}

        @app.get("/v1/models")
        def models() -> Any:
            one = {"id": self.model_id, "object": "model", "created": 1, "owned_by": "test"}
            return {"object": "list", "data": [one | {"max_model_len": self.max_model_len}]}

        @app.post("/v1/chat/completions")
        async def chat(request: Request) -> Any:
            body = await request.json()
            return await self._reply(request, body, body["messages"][-1]["content"], "message")

        @app.post("/v1/completions")
        async def completions(request: Request) -> Any:
            body = await request.json()
            if body.get("echo"):
                assert self.likelihood is not None
                return self._likelihoods(body)
            return await self._reply(request, body, body["prompt"], "text")

        return app

    async def _reply(self, request: Request, body: dict[str, Any], prompt: str, style: str) -> Any:
        with self._lock:
            self.asked[prompt] += 1
            self.bodies.append(body)
            self.keys.add(request.headers.get("authorization", ""))
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            await asyncio.sleep(self.delay_s)
        finally:
            with self._lock:
                self._now -= 1
        if body["model"] != self.model_id:
            return JSONResponse({"message": f"The model `{body['model']}` does not exist.", "code": 404}, 404)
        said = self.answer(prompt)
        if isinstance(said, int):
            key = request.headers.get("authorization", "")
            return JSONResponse({"error": {"message": f"scripted failure for {key}"}}, said)
        message = said if isinstance(said, dict) else {"role": "assistant", "content": said}
        content = {"message": message} if style == "message" else {"text": said}
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": self.model_id,
            "choices": [{"index": 0, "finish_reason": self.finish_reason(prompt), **content}],
            "usage": {"prompt_tokens": len(prompt.split()), "completion_tokens": 1, "total_tokens": 1},
        }

    def _likelihoods(self, body: dict[str, Any]) -> Any:
        assert self.likelihood is not None
        prompts = body["prompt"] if isinstance(body["prompt"][0], list) else [body["prompt"]]
        choices = []
        for index, ids in enumerate(prompts):
            values = [*self.likelihood(ids), -1.0]  # one generated token, as `max_tokens: 1` asks
            tops = [{"best": max(value, -0.5)} for value in values]
            logprobs = {"token_logprobs": values, "top_logprobs": tops, "tokens": [], "text_offset": []}
            choices.append({"index": index, "text": "", "finish_reason": "length", "logprobs": logprobs})
        with self._lock:
            for ids in prompts:
                self.asked[str(ids)] += 1
        return {"id": "x", "object": "text_completion", "created": 1, "model": self.model_id, "choices": choices}
