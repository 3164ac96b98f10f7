"""The number of requests at once follows what the model takes, between one and `parallelism`."""
# ruff: noqa: F811 - a fixture that is imported is no redefinition

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from embedded.evaluator.window import Turn, Window
from tests.contract.evaluator_support import (  # noqa: F401 - fixtures among them
    chat_config,
    client,
    finish,
    model,
    samples,
    service,
    target,
    upload,
)


def _entered(window: Window, count: int) -> list[Turn]:
    async def enter() -> list[Turn]:
        return [await window.enter() for _ in range(count)]

    return asyncio.run(enter())


def test_it_grows_to_the_ceiling_where_nobody_complains() -> None:
    window = Window(24, 60)
    assert window.size == 16
    for _ in range(40):
        for turn in _entered(window, window.size):
            window.leave(turn, 200)
    assert window.size == 24
    assert window.remark() == ""


def test_it_does_not_grow_while_it_is_not_used() -> None:
    window = Window(64, 60)
    for _ in range(50):
        [turn] = _entered(window, 1)
        window.leave(turn, 200)
    assert window.size == 16


def test_a_burst_of_refusals_halves_it_once_and_answers_win_it_back_slowly() -> None:
    window = Window(64, 60)
    for turn in _entered(window, 16):
        window.leave(turn, 429)
    assert window.size == 8
    for turn in _entered(window, 8):
        window.leave(turn, 200)
    assert window.size == 8  # a little more than 8: only a full window of answers is worth one
    for _ in range(2):
        for turn in _entered(window, 8):
            window.leave(turn, 200)
    assert window.size == 9
    for _ in range(10):
        for turn in _entered(window, window.size):
            window.leave(turn, 503)
    assert window.size == 1
    assert "asked 1 at once in the end, 64 are allowed" in window.remark()


def test_answers_that_come_late_or_not_at_all_halve_it() -> None:
    patient, hasty = Window(16, 1e9), Window(16, 0.0)
    for window, size in ((patient, 16), (hasty, 8)):
        [turn] = _entered(window, 1)
        window.leave(turn, 200)
        assert window.size == size
    [turn] = _entered(patient, 1)
    patient.leave(turn, None)
    assert patient.size == 8


def test_who_waits_gets_the_place_of_one_who_gave_up() -> None:
    async def run() -> None:
        window = Window(1, 60)
        await window.enter()
        waiting = asyncio.create_task(window.enter())
        await asyncio.sleep(0)
        assert not waiting.done()
        window.cancel()
        await asyncio.wait_for(waiting, 30)

    asyncio.run(run())


class Small:
    """A model that takes three requests at a time and refuses the others."""

    def __init__(self) -> None:
        self.answered = self.refused = self._now = 0

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/v1/chat/completions")
        async def chat() -> Any:
            if self._now >= 3:
                self.refused += 1
                return JSONResponse({"error": {"message": "too many requests"}}, 429)
            self._now += 1
            try:
                await asyncio.sleep(0.01)
            finally:
                self._now -= 1
            self.answered += 1
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x"}}
            return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}

        return app


def test_a_small_model_answers_all_items_and_refuses_few(
    client: Any, start_app: Callable[..., str], upload: Callable[..., str], service: Any
) -> None:
    small = Small()
    url = upload([{"prompt": f"p{number}", "ideal": "x"} for number in range(60)])
    config = chat_config(url, {"em": {"type": "em"}}, parallelism=60)
    job = client.evaluation.jobs.create(target=target(start_app(small.app())), config=config)
    finish(client, job.id)
    assert all("error" not in row["sample"] for row in samples(client, job.id))
    assert small.answered == 60
    assert small.refused < 60  # a fixed number of 60 has 57 of them refused at once, and most of them again
    log = httpx.get(f"{service.url}/v1/evaluation/jobs/{job.id}/logs").text
    assert "60 are allowed" in log
