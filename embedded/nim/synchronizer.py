"""Keeps the served adapters equal to what the Entity Store announces.

    watch()   every `refresh_interval_s`: read the index of adapters, fetch what is new, load it, unload what is gone
    seek(id)  at once, when a request names a model that is not loaded; together with all who ask at the same time

When the Entity Store or the Data Store does not answer, what is served stays served. Each trouble is logged once, and
once more when it ends. Knows nothing of vLLM: it loads and unloads through `Host`.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import httpx

from embedded.nim import adapter_index
from embedded.nim.adapter_cache import AdapterCache, FilesUrlError, NotServableError
from embedded.nim.adapter_index import Adapter, AdapterIndexError

logger = logging.getLogger(__name__)
MISS_GAP_S = 0.25  # however many requests name unknown models, looks at the Entity Store are so far apart
DISCARD_AFTER_S = 600.0  # files of a removed adapter stay so long, for requests that still run on it


ReadIndex = Callable[[], Awaitable[dict[str, Adapter]]]


class Host(Protocol):
    """What serves the adapters."""

    def loaded(self) -> dict[str, Path]:
        """Id -> folder of the adapters that can be named now."""

    def folder(self, adapter_id: str) -> Path | None:
        """Return the folder of one of them; None when it cannot be named now."""

    def busy(self, adapter_id: str) -> bool:
        """Whether requests still run that named this id."""

    async def load(self, adapter_id: str, folder: Path) -> None:
        """NotServableError when the weights do not fit the model."""

    async def unload(self, adapter_id: str) -> None:
        """Make the id unknown; running requests end as they began."""


class Synchronizer:
    """One per server, on its event loop."""

    def __init__(
        self,
        cache: AdapterCache,
        host: Host,
        read: ReadIndex,
        *,
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache, self._host, self._read = cache, host, read
        self._interval_s, self._clock = interval_s, clock
        self._lock = asyncio.Lock()  # one look at the stores at a time
        self._looked_at = float("-inf")
        self._announced: dict[str, Adapter] | None = None  # None: the Entity Store has not answered yet
        self._refused: dict[tuple[str, str], str] = {}  # (id, version) -> why it can never be served
        self._troubles: dict[str, str] = {}
        self._leaving: dict[Path, float] = {}

    async def watch(self) -> None:
        """Refresh for ever. Ends by cancellation only."""
        while True:
            try:
                await self.refresh()
            except Exception:  # a defect must not end the pick-up of adapters
                logger.exception("adapters: refresh failed; trying again in %g s", self._interval_s)
            await asyncio.sleep(self._interval_s)

    async def refresh(self) -> None:
        """One full turn: index, files, loading, unloading."""
        async with self._lock:
            await self._look()
        # Outside the lock: loading waits for requests that are just resolving the same id, and these wait in seek().
        await self._publish()

    async def seek(self, adapter_id: str) -> Path | None:
        """Find the folder of an adapter that is announced and fetched; None when nobody announces it.

        Raises NotServableError with the reason when it is announced but cannot be served (yet).
        """
        asked = self._clock()
        async with self._lock:
            if self._looked_at < asked:  # nobody has looked since
                await asyncio.sleep(max(0.0, self._looked_at + MISS_GAP_S - self._clock()))
                await self._look()
        adapter = (self._announced or {}).get(adapter_id)
        if adapter is None:
            return None
        if reason := self.trouble(adapter_id):
            raise NotServableError(reason)
        folder = self._cache.place(adapter)
        if self._former_weights_in_use(adapter_id, folder):
            raise NotServableError("requests on its former weights still run; try again")
        return folder

    def trouble(self, adapter_id: str) -> str | None:
        """Why an announced adapter is not served; None when it is, or is not announced."""
        adapter = (self._announced or {}).get(adapter_id)
        if adapter is None:
            return None
        return self._refused.get((adapter_id, adapter.version)) or self._troubles.get(adapter_id)

    async def _look(self) -> None:
        """Read the index of adapters and fetch the files of what is new."""
        self._looked_at = self._clock()
        try:
            announced = await self._read()
        except AdapterIndexError as error:
            self._report("Entity Store", f"{error}; serving the adapters that are loaded")
            return
        self._report("Entity Store", None)
        if self._announced is None:
            await asyncio.to_thread(self._cache.sweep, {self._cache.place(adapter) for adapter in announced.values()})
        for adapter_id in set(self._troubles) - set(announced) - {"Entity Store"}:
            del self._troubles[adapter_id]
        self._refused = {key: why for key, why in self._refused.items() if key[0] in announced}
        wanted = [one for one in announced.values() if (one.id, one.version) not in self._refused]
        missing = set(await asyncio.to_thread(self._cache.missing, wanted))
        for adapter in wanted:
            if adapter in missing:
                await self._fetch(adapter)
            else:
                self._report(adapter.id, None)
        self._announced = announced

    async def _fetch(self, adapter: Adapter) -> None:
        try:
            await asyncio.to_thread(self._cache.fetch, adapter)
        except NotServableError as error:
            self._refuse(adapter, error)
        except FilesUrlError as error:
            self._report(adapter.id, f"{error}; trying again")
        except Exception as error:  # noqa: BLE001 - one adapter's trouble must not keep the others away
            self._report(adapter.id, f"{error!r}; trying again")
        else:
            self._report(adapter.id, None)

    async def _publish(self) -> None:
        """Load and unload until the host serves what is announced and in the cache."""
        if self._announced is None:
            return
        announced, now = self._announced, self._clock()
        for adapter_id, folder in self._host.loaded().items():
            if adapter_id not in announced:
                await self._host.unload(adapter_id)
                self._leaving[folder] = now
                logger.info("adapter %s is no longer announced: unloaded", adapter_id)
        for adapter in announced.values():
            before, folder = self._host.folder(adapter.id), self._cache.place(adapter)
            if before == folder or self.trouble(adapter.id) is not None:
                continue
            if before is not None:
                await self._host.unload(adapter.id)
                self._leaving[before] = now
            if self._former_weights_in_use(adapter.id, folder):
                continue  # next turn
            try:
                await self._host.load(adapter.id, folder)
            except NotServableError as error:
                self._refuse(adapter, error)
            else:
                self._leaving.pop(folder, None)
                logger.info("adapter %s loaded", adapter.id)
        for folder in [folder for folder, since in self._leaving.items() if since < now - DISCARD_AFTER_S]:
            del self._leaving[folder]
            await asyncio.to_thread(self._cache.discard, folder)

    def _former_weights_in_use(self, adapter_id: str, folder: Path) -> bool:
        # vLLM takes two adapters of one name in one batch for the same one, and its engine dies of it.
        return self._host.folder(adapter_id) != folder and self._host.busy(adapter_id)

    def _refuse(self, adapter: Adapter, error: NotServableError) -> None:
        self._refused[adapter.id, adapter.version] = str(error)
        logger.error("adapter %s is not served: %s", adapter.id, error)

    def _report(self, subject: str, trouble: str | None) -> None:
        """Log a change, not a state."""
        before = self._troubles.get(subject)
        if trouble is None and before is not None:
            del self._troubles[subject]
            logger.info("%s: in order again", subject)
        elif trouble is not None and trouble != before:
            self._troubles[subject] = trouble
            logger.warning("%s: %s", subject, trouble)


def in_folder(folder: Path) -> ReadIndex:
    """`read_folder`, for Synchronizer."""

    async def read() -> dict[str, Adapter]:
        return await asyncio.to_thread(adapter_index.read_folder, folder)

    return read


def over_http(client: httpx.AsyncClient, entity_store_url: str, base_model: str) -> ReadIndex:
    """`read_index` through `client`, for Synchronizer."""

    async def read() -> dict[str, Adapter]:
        return await adapter_index.read_index(client, entity_store_url, base_model)

    return read
