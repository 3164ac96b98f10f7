"""The mock's batch: so many requests are served at a time, and the others wait in the order in which they came.

With `places` and a fixed cadence the highest rate is known from the settings alone: a request holds its place for
ttft + (tokens - 1) * itl seconds, so that no more than places / that many requests a second can be served for long.
Without `places` every request is served at once, and there is no highest rate.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

METRICS: Final = (
    "# TYPE vllm:num_requests_running gauge\n"
    'vllm:num_requests_running{{model_name="{model}"}} {running}\n'
    "# TYPE vllm:num_requests_waiting gauge\n"
    'vllm:num_requests_waiting{{model_name="{model}"}} {waiting}\n'
)


class Batch:
    """`places` requests at a time, first come first served."""

    def __init__(self, places: int | None = None) -> None:
        self.places = places
        self.running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[bool]:
        """Hold a place; yields whether the request had to wait for it."""
        waited = self.places is not None and self.running >= self.places
        if waited:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn  # whoever leaves hands its place on, so that nobody who comes later can take it
            except asyncio.CancelledError:
                self._give_up(turn)
                raise
        else:
            self.running += 1
        try:
            yield waited
        finally:
            self._leave()

    def _give_up(self, turn: "asyncio.Future[None]") -> None:
        if turn in self._waiting:
            self._waiting.remove(turn)
        elif turn.done() and not turn.cancelled():
            self._leave()

    def _leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1

    def metrics(self, model: str) -> str:
        """Tell the queue under vLLM's names; nothing without places."""
        if self.places is None:
            return ""
        return METRICS.format(model=model, running=self.running, waiting=len(self._waiting))
