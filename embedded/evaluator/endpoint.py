"""Asks OpenAI-compatible models: many requests at a time, with retries, and errors that say what to do.

Transport errors, 429, 5xx and answers that are not whole in time are tried again with growing pauses; after the last
retry they are a NoAnswerError. What the model refuses for this input (400, 413, 422), and an answer that nobody can use
or store, is an ItemError; any other failure is an EvaluationError: the model is not usable.
A model is somebody else's program: no more than MAX_ANSWER bytes of an answer are read, and no longer than
`request_timeout`, however it is sent. Keys go into the Authorization header and nowhere else.
"""

import asyncio
import json
import random
import re
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from embedded.evaluator.errors import EvaluationError, ItemError, NoAnswerError
from embedded.evaluator.request_models import ApiEndpoint, Params
from embedded.evaluator.window import Window

Style = Literal["chat", "completion"]
_ROUTES: dict[Style, str] = {"chat": "/chat/completions", "completion": "/completions"}
_LONGEST_PAUSE_S = 8.0
MAX_ANSWER = 16 * 2**20
"""Bytes of an answer, unpacked: several times what the longest answer of a model needs."""


def api_root(url: str) -> str:
    """`http://host/v1` of an endpoint's full address."""
    return re.sub(r"(/chat)?/completions/?$", "", url).rstrip("/")


@dataclass(frozen=True)
class Endpoint:
    """One model behind one address; `style` of the request decides the route below `/v1`."""

    root: str
    model_id: str
    api_key: str | None = None

    @classmethod
    def from_api(cls, api: ApiEndpoint) -> "Endpoint":
        """From what a target or a judge is configured with."""
        return cls(api_root(api.url), api.model_id, api.api_key or None)

    def headers(self) -> dict[str, str]:
        """Give Authorization, if there is a key."""
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    def url(self, style: Style) -> str:
        """Give the full address."""
        return self.root + _ROUTES[style]

    async def served(self, client: httpx.AsyncClient) -> list[dict[str, Any]]:
        """List the models there, as `/v1/models` does; empty when it does not."""
        try:
            answer = await client.get(f"{self.root}/models", headers=self.headers(), timeout=10)
            data = answer.raise_for_status().json()["data"]
            return [model for model in data if isinstance(model, dict) and "id" in model]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return []

    async def ask(
        self, client: httpx.AsyncClient, style: Style, body: dict[str, Any], params: Params, window: Window
    ) -> dict[str, Any]:
        """Post `body`, to which the model id is added, once `window` has room; returns the JSON answer."""
        url = self.url(style)
        problem, pause = "", 0.5
        for attempt in range(params.max_retries + 1):
            if attempt:
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            try:
                body = {"model": self.model_id} | body
                answer = await self._post_in_turn(client, url, body, params.request_timeout, window)
            except TimeoutError:
                problem = f"no whole answer within {params.request_timeout:g} s"
                continue
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}".rstrip(": ")
                continue
            if answer.is_success:
                return self._json(answer)
            problem = f"{answer.status_code}: {self._reason(answer)}"
            if answer.status_code in {400, 413, 422}:
                raise ItemError(f"model {self.model_id} at {url} refused the request: {problem}")
            if answer.status_code != 429 and answer.status_code < 500:
                raise EvaluationError(await self._complaint(client, url, problem))
            if (wait := answer.headers.get("retry-after", "")).isdecimal():
                pause = min(float(wait), _LONGEST_PAUSE_S)
        raise NoAnswerError(f"{await self._complaint(client, url, problem)} (after {params.max_retries + 1} attempts)")

    async def _post_in_turn(
        self, client: httpx.AsyncClient, url: str, body: dict[str, Any], seconds: float, window: Window
    ) -> httpx.Response:
        turn = await window.enter()
        try:
            answer = await self._post(client, url, body, seconds)
        except (TimeoutError, httpx.HTTPError):
            window.leave(turn, None)
            raise
        except BaseException:
            window.cancel()
            raise
        window.leave(turn, answer.status_code)
        return answer

    async def _post(self, client: httpx.AsyncClient, url: str, body: dict[str, Any], seconds: float) -> httpx.Response:
        """Post and read the answer, all of it within `seconds`. Raises TimeoutError, httpx.HTTPError, ItemError."""
        async with (
            asyncio.timeout(seconds),
            client.stream("POST", url, json=body, headers=self.headers(), timeout=seconds) as answer,
        ):
            content = bytearray()
            async for part in answer.aiter_bytes():
                content += part
                if len(content) > MAX_ANSWER:
                    raise ItemError(f"model {self.model_id} at {url} answered with more than {MAX_ANSWER >> 20} MiB")
        kept = {name: answer.headers[name] for name in ("content-type", "retry-after") if name in answer.headers}
        return httpx.Response(answer.status_code, headers=kept, content=bytes(content), request=answer.request)

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        """Return an answer that can be used and kept: of the right shape, finite numbers, whole characters."""
        try:
            body = answer.json()
            choice = body["choices"][0]
            if isinstance(choice.get("message") or {}, dict):
                json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
                return dict(body)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            pass
        raise ItemError(f"model {self.model_id} at {answer.url}: no OpenAI-like answer: {answer.text[:200]!r}")

    def _reason(self, answer: httpx.Response) -> str:
        """Give the one-line text of an error, without our key should a server echo it."""
        try:
            body = answer.json()
            text = body.get("message") or body.get("detail") or body.get("error")
            text = text.get("message", text) if isinstance(text, dict) else text
        except (ValueError, AttributeError, RecursionError):
            text = answer.text[:1000]
        text = " ".join(str(text or answer.reason_phrase).split())[:500]
        return text.replace(self.api_key, "******") if self.api_key else text

    async def _complaint(self, client: httpx.AsyncClient, url: str, problem: str) -> str:
        served = ", ".join(str(model["id"]) for model in (await self.served(client))[:20])
        return f"model {self.model_id} at {url}: {problem}" + (f"; models there: {served}" if served else "")


def output_text(style: Style, answer: dict[str, Any]) -> str:
    """Give the text of the first choice; '' where the model called a tool instead."""
    choice = answer["choices"][0]
    return str((choice.get("message") or {}).get("content") or "") if style == "chat" else str(choice.get("text") or "")
