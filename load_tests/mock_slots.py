"""The mock's LoRA slots: a request of an adapter that is in none of them waits until it is loaded into one.

As vLLM does it: the adapter that was used longest ago leaves, never one that a reply is using; while all are in use,
requests of others wait in the order in which they came.
"""

import asyncio
import contextlib
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from typing import Final

LINE: Final = (
    "# TYPE vllm:lora_requests_info gauge\n"
    'vllm:lora_requests_info{{max_lora="{slots}",running_lora_adapters="{asked}",waiting_lora_adapters="{asked}"}} 1\n'
)
"""vLLM names an adapter with any request in both lists, whether it runs or waits: `LoRARequestStates` of its engine."""


class AdapterSlots:
    """`count` slots; loading takes `load_s`. Without a count every adapter is loaded all the time."""

    def __init__(self, count: int | None = None, load_s: float = 0.0) -> None:
        self.count, self.load_s = count, load_s
        self._asked: Counter[str] = Counter()
        self._used: dict[str, int] = {}
        self._loaded: OrderedDict[str, asyncio.Future[None]] = OrderedDict()
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def use(self, adapter: str) -> AsyncIterator[bool]:
        """Hold the adapter's slot; yields whether the request found it not loaded."""
        if self.count is None:
            yield False
            return
        self._asked[adapter] += 1
        try:
            async with self._slot(adapter) as cold:
                yield cold
        finally:
            self._asked[adapter] -= 1

    @contextlib.asynccontextmanager
    async def _slot(self, adapter: str) -> AsyncIterator[bool]:
        async with self._changed:
            await self._changed.wait_for(lambda: adapter in self._loaded or self._room())
            self._used[adapter] = self._used.get(adapter, 0) + 1
            begin = adapter not in self._loaded
            if begin:
                self._loaded[adapter] = asyncio.get_running_loop().create_future()
            self._loaded.move_to_end(adapter)
            ready = self._loaded[adapter]
        cold = not ready.done()
        try:
            if begin:
                await asyncio.sleep(self.load_s)
                ready.set_result(None)
            else:
                await asyncio.shield(ready)
            yield cold
        finally:
            if begin and not ready.done():
                ready.set_result(None)
            async with self._changed:
                self._used[adapter] -= 1
                self._changed.notify_all()

    def _room(self) -> bool:
        """Whether a slot is free, after the adapter that was used longest ago has left if need be."""
        assert self.count is not None
        if len(self._loaded) < self.count:
            return True
        idle = next((adapter for adapter in self._loaded if not self._used.get(adapter)), None)
        if idle is None:
            return False
        del self._loaded[idle]
        return True

    def metrics(self) -> str:
        """Tell the slots as vLLM does; nothing without a count."""
        asked = ",".join(adapter for adapter, requests in self._asked.items() if requests)
        return "" if self.count is None else LINE.format(slots=self.count, asked=asked)
