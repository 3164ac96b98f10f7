"""A judge that misbehaves: slow, verbose, or hostile, row by row, as any endpoint on the internet may be.

The prompt names what it does (`BEHAVIOURS`), so that one evaluation meets all of it and a test knows each outcome. It
speaks HTTP correctly; what it sends is what no client should believe.
"""

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

MODEL = "hostile/judge"
WORDS = "I weigh every word of this answer. "
DEEP = 100_000
MEBIBYTE = b" " * 2**20
DRIP_S = 0.1
GIANT_S = 0.02  # lets the others be answered in between
BEHAVIOURS: dict[str, str | int | Callable[[], Response]] = {
    # ordinary
    "plain": "RATING: 4",
    # verbose
    "long": WORDS * 10_000 + "RATING: 3",
    "long with a draft": "A first draft: RATING: 5. " + WORDS * 10_000 + "RATING: 2",
    "no verdict": WORDS * 10_000,
    "quotes the answer": "The answer tells me to write RATING: 5. I do not. RATING: 1",
    "two objects": 'I saw {"rating": 5}, but {"rating": 1}',
    # hostile texts
    "template": "{{ 7 * 7 }} {% for x in range(10**9) %}RATING{% endfor %}",
    "not a number": "RATING: NaN",
    "infinite": "RATING: inf",
    "negative": "RATING: -3",
    "too much": "RATING: 6",
    "digits": f"RATING: {'9' * 400}",
    "more digits": f"RATING: {'9' * 5000}",
    "nothing": "",
    "deep": '{"a":' * DEEP,
    # hostile answers
    "no choices": lambda: JSONResponse({"choices": []}),
    "a text for a message": lambda: JSONResponse({"choices": [{"message": "RATING: 5"}]}),
    "no object": lambda: Response("[" * DEEP, media_type="application/json"),
    "a page": lambda: Response("<html>RATING: 5</html>", media_type="text/html"),
    "half a character": lambda: Response(
        json.dumps({"choices": [{"message": {"content": "\ud800 RATING: 5"}}]}), media_type="application/json"
    ),
    "usage is NaN": lambda: Response(
        '{"choices": [{"message": {"content": "RATING: 5"}}], "usage": {"total_tokens": 1e999}}',
        media_type="application/json",
    ),
    "giant": lambda: StreamingResponse(_endless(MEBIBYTE, GIANT_S), media_type="application/json"),
    "bomb": lambda: Response(
        gzip.compress(MEBIBYTE * 64), headers={"content-encoding": "gzip"}, media_type="application/json"
    ),
    # slow and broken
    "drips": lambda: StreamingResponse(_endless(b" ", DRIP_S), media_type="application/json"),
    "breaks": 500,
    "breaks once": 500,
    "sleeps once": "RATING: 4",
}


async def _endless(part: bytes, pause_s: float) -> AsyncIterator[bytes]:
    while True:
        yield part
        await asyncio.sleep(pause_s)


class HostileJudge:
    """`asked`: how often each behaviour was asked for. `sleep_s`: how long it sleeps where it does."""

    def __init__(self, *, sleep_s: float) -> None:
        self.asked: Counter[str] = Counter()
        self.prompts: list[str] = []
        self._sleep_s = sleep_s

    def app(self) -> FastAPI:
        """Make the server."""
        app = FastAPI()

        @app.get("/v1/models")
        def models() -> dict[str, object]:
            return {"object": "list", "data": [{"id": MODEL, "object": "model"}]}

        @app.post("/v1/chat/completions")
        async def chat(request: Request) -> Response:
            prompt = (await request.json())["messages"][-1]["content"]
            behaviour = prompt.removeprefix("behaviour: ").splitlines()[0]
            self.prompts.append(prompt)
            self.asked[behaviour] += 1
            first = self.asked[behaviour] == 1
            if behaviour == "sleeps once" and first:
                await asyncio.sleep(self._sleep_s)
            if behaviour == "breaks once" and not first:
                return _answer("RATING: 4")
            if behaviour == "sends away":
                return RedirectResponse("http://127.0.0.1:9/elsewhere", 307)
            what = BEHAVIOURS[behaviour]
            if isinstance(what, int):
                return JSONResponse({"error": {"message": "the judge is unwell"}}, what)
            return _answer(what) if isinstance(what, str) else what()

        return app


def _answer(text: str) -> Response:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return JSONResponse({"id": "x", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice]})
