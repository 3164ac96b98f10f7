"""Which adapters are served when: the synchronizer over a scripted Entity Store, without vLLM and without files."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest

from embedded.nim import adapter_index
from embedded.nim.adapter_cache import AdapterCache, FilesUrlError, NotServableError
from embedded.nim.adapter_index import Adapter, AdapterIndexError
from embedded.nim.synchronizer import DISCARD_AFTER_S, MISS_GAP_S, Synchronizer, over_http

BASE = "nemostack/tiny-instruct"
URL = "http://entity-store.test"


def entity(name: str, **changes: Any) -> dict[str, Any]:
    artifact = {"status": "upload_completed", "files_url": f"hf://models/default/{name}"}
    made = {"namespace": "default", "name": name, "base_model": BASE, "peft": {"finetuning_type": "lora"}}
    return made | {"artifact": artifact, "created_at": "2026-01-01", "updated_at": "2026-01-01"} | changes


class EntityStore:
    """Answers `GET /v1/models` from `entities`, page by page; `status` other than 200 makes it fail."""

    def __init__(self) -> None:
        self.entities: list[dict[str, Any]] = []
        self.status = 200
        self.requests: list[httpx.Request] = []
        self.delay_s = 0.0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        await asyncio.sleep(self.delay_s)
        if self.status == 0:
            raise httpx.ConnectError("refused", request=request)
        assert request.url.path == "/v1/models"
        page, size = int(request.url.params["page"]), int(request.url.params["page_size"])
        rows = self.entities[(page - 1) * size : page * size]
        return httpx.Response(self.status, json={"object": "list", "data": rows})


class ShelfWithoutFiles(AdapterCache):
    """Fetching always works, unless `problems` says otherwise."""

    problems: dict[str, Exception]
    fetched: list[str]
    discarded: list[Path]

    def fetch(self, adapter: Adapter) -> Path:
        self.fetched.append(adapter.id)
        if problem := self.problems.get(adapter.id):
            raise problem
        place = self.place(adapter)
        place.mkdir(exist_ok=True)
        return place

    def discard(self, place: Path) -> None:
        super().discard(place)
        self.discarded.append(place)


class ServerInMemory:
    """What vLLM would serve."""

    def __init__(self) -> None:
        self.served: dict[str, Path] = {}
        self.events: list[str] = []
        self.unfit: set[str] = set()
        self.running: set[str] = set()
        self.listings = 0

    def loaded(self) -> dict[str, Path]:
        self.listings += 1
        return dict(self.served)

    def folder(self, adapter_id: str) -> Path | None:
        return self.served.get(adapter_id)

    def busy(self, adapter_id: str) -> bool:
        return adapter_id in self.running

    async def load(self, adapter_id: str, folder: Path) -> None:
        assert adapter_id not in self.served
        self.events.append(f"load {adapter_id}")
        if adapter_id in self.unfit:
            raise NotServableError("vLLM cannot load it: no")
        self.served[adapter_id] = folder

    async def unload(self, adapter_id: str) -> None:
        self.events.append(f"unload {adapter_id}")
        del self.served[adapter_id]


class World:
    """A synchronizer and all around it; `now` is its clock."""

    def __init__(self, folder: Path, client: httpx.AsyncClient, store: EntityStore) -> None:
        self.store, self.server, self.now = store, ServerInMemory(), 1000.0
        self.cache = ShelfWithoutFiles(folder, "http://data-store.test", 32, ("q_proj",))
        vars(self.cache).update(problems={}, fetched=[], discarded=[])
        read = over_http(client, URL, BASE)
        self.sync = Synchronizer(self.cache, self.server, read, interval_s=0.01, clock=lambda: self.now)


Play = Callable[[World], Coroutine[Any, Any, None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Play], None]:
    """Run one story on an event loop of its own."""

    def run(story: Play) -> None:
        async def main() -> None:
            store = EntityStore()
            async with httpx.AsyncClient(transport=httpx.MockTransport(store)) as client:
                await story(World(tmp_path, client, store))

        asyncio.run(asyncio.wait_for(main(), 20))

    return run


@pytest.mark.parametrize(
    ("change", "served"),
    [
        ({}, True),
        ({"base_model": {"name": BASE}}, True),
        ({"base_model": {"namespace": "nemostack", "name": "tiny-instruct"}}, True),
        ({"base_model": f"{BASE}@v1.0.0+CPU"}, True),
        ({"base_model": "nemostack/another"}, False),
        ({"base_model": None}, False),
        ({"artifact": None}, False),
        ({"artifact": {"status": "created", "files_url": "hf://models/default/a"}}, False),
        ({"artifact": {"status": "upload_failed", "files_url": "hf://models/default/a"}}, False),
        ({"peft": None}, False),
        ({"peft": {"finetuning_type": "all_weights"}}, False),
        ({"peft": {"finetuning_type": "lora_merged"}}, False),
        ({"peft": "nonsense"}, False),
    ],
)
def test_which_entities_are_adapters(play: Callable[[Play], None], change: dict[str, Any], served: bool) -> None:
    async def story(world: World) -> None:
        world.store.entities = [entity("a@cust-1", **change), entity("b@cust-2")]
        await world.sync.refresh()
        expected = {"default/b@cust-2"} | ({"default/a@cust-1"} if served else set())
        assert set(world.server.served) == expected

    play(story)


def test_reads_all_pages(play: Callable[[Play], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_index, "PAGE_SIZE", 3)

    async def story(world: World) -> None:
        world.store.entities = [entity(f"a{number}") for number in range(6)]
        await world.sync.refresh()
        assert len(world.server.served) == 6
        assert [request.url.params["page"] for request in world.store.requests] == ["1", "2", "3"]
        assert {request.url.params["filter[peft]"] for request in world.store.requests} == {"true"}

    play(story)


def test_loads_once_and_unloads_what_is_gone(play: Callable[[Play], None]) -> None:
    async def story(world: World) -> None:
        world.store.entities = [entity("a"), entity("b")]
        await world.sync.refresh()
        await world.sync.refresh()
        world.store.entities = [entity("b")]
        await world.sync.refresh()
        assert world.server.events == ["load default/a", "load default/b", "unload default/a"]
        assert await world.sync.seek("default/a") is None

    play(story)


def test_files_outlive_the_requests_that_use_them(play: Callable[[Play], None]) -> None:
    async def story(world: World) -> None:
        world.store.entities = [entity("a")]
        await world.sync.refresh()
        folder = world.server.served["default/a"]
        world.store.entities = []
        await world.sync.refresh()
        world.now += DISCARD_AFTER_S - 1
        await world.sync.refresh()
        assert world.cache.discarded == []
        world.now += 2
        await world.sync.refresh()
        assert world.cache.discarded == [folder]

    play(story)


def test_replaced_weights_are_loaded_when_the_old_ones_are_idle(play: Callable[[Play], None]) -> None:
    async def story(world: World) -> None:
        world.store.entities = [entity("a")]
        await world.sync.refresh()
        before = world.server.served["default/a"]
        world.server.running = {"default/a"}
        world.store.entities = [entity("a", updated_at="2026-01-02")]
        await world.sync.refresh()
        assert world.server.served == {}
        with pytest.raises(NotServableError, match="former weights still run"):
            await world.sync.seek("default/a")
        world.server.running = set()
        await world.sync.refresh()
        assert world.server.served["default/a"] != before

    play(story)


def test_deleted_and_announced_again_while_requests_run(play: Callable[[Play], None]) -> None:
    async def story(world: World) -> None:
        for entities in ([entity("a")], [], [entity("a", created_at="2026-01-02")]):
            world.store.entities = entities
            await world.sync.refresh()
            world.server.running = {"default/a"}
        assert world.server.events == ["load default/a", "unload default/a"]

    play(story)


@pytest.mark.parametrize("status", [0, 500, 404])
def test_entity_store_away(play: Callable[[Play], None], caplog: pytest.LogCaptureFixture, status: int) -> None:
    async def story(world: World) -> None:
        world.store.entities = [entity("a")]
        await world.sync.refresh()
        world.store.status = status
        caplog.clear()
        for _ in range(5):
            await world.sync.refresh()
        assert set(world.server.served) == {"default/a"}
        assert len(caplog.records) == 1, "once, not at every turn"
        assert "Entity Store" in caplog.text
        world.store.status = 200
        world.store.entities.append(entity("b"))
        await world.sync.refresh()
        assert "in order again" in caplog.text
        assert set(world.server.served) == {"default/a", "default/b"}

    with caplog.at_level(logging.WARNING, "embedded"), caplog.at_level(logging.INFO, "embedded.nim.synchronizer"):
        play(story)


def test_an_entity_store_that_is_away_at_the_start_removes_nothing(play: Callable[[Play], None]) -> None:
    async def story(world: World) -> None:
        (world.cache.folder / "kept").mkdir()
        world.store.status = 0
        await world.sync.refresh()
        assert (world.cache.folder / "kept").is_dir()
        world.store.status = 200
        await world.sync.refresh()
        assert not (world.cache.folder / "kept").exists()

    play(story)


def test_answer_that_is_no_list() -> None:
    async def read() -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>"))
        async with httpx.AsyncClient(transport=transport) as client:
            await adapter_index.read_index(client, URL, BASE)

    with pytest.raises(AdapterIndexError, match="did not answer with a list"):
        asyncio.run(read())


def test_data_store_away_is_tried_again(play: Callable[[Play], None], caplog: pytest.LogCaptureFixture) -> None:
    async def story(world: World) -> None:
        world.store.entities = [entity("a"), entity("b")]
        world.cache.problems["default/a"] = FilesUrlError("no answer")
        for _ in range(3):
            await world.sync.refresh()
        assert set(world.server.served) == {"default/b"}
        assert world.cache.fetched.count("default/a") == 3
        assert caplog.text.count("no answer") == 1
        world.now += 1
        with pytest.raises(NotServableError, match="no answer"):
            await world.sync.seek("default/a")
        world.cache.problems.clear()
        await world.sync.refresh()
        assert set(world.server.served) == {"default/a", "default/b"}

    play(story)


@pytest.mark.parametrize("found_by", ["cache", "vllm"])
def test_what_cannot_be_served_is_refused_once(
    play: Callable[[Play], None], caplog: pytest.LogCaptureFixture, found_by: str
) -> None:
    async def story(world: World) -> None:
        world.store.entities = [entity("a"), entity("b")]
        if found_by == "cache":
            world.cache.problems["default/a"] = NotServableError("rank 64 is above")
        else:
            world.server.unfit = {"default/a"}
        for _ in range(3):
            await world.sync.refresh()
        assert set(world.server.served) == {"default/b"}
        assert world.cache.fetched.count("default/a") == 1
        assert sum("default/a is not served" in record.message for record in caplog.records) == 1
        with pytest.raises(NotServableError, match=r"rank 64|vLLM cannot"):
            await world.sync.seek("default/a")
        assert world.sync.trouble("default/a")
        world.cache.problems.clear()
        world.server.unfit = set()
        world.store.entities[0] = entity("a", updated_at="2026-02-02")
        await world.sync.refresh()
        assert set(world.server.served) == {"default/a", "default/b"}

    play(story)


def test_a_request_finds_what_was_just_announced(play: Callable[[Play], None]) -> None:
    async def story(world: World) -> None:
        await world.sync.refresh()
        world.store.entities = [entity("a")]
        world.now += 0.01
        adapter = Adapter("default/a", "hf://models/default/a", "hf://models/default/a 2026-01-01 2026-01-01")
        assert await world.sync.seek("default/a") == world.cache.place(adapter)
        assert world.server.events == [], "vLLM loads what it asked for itself"

    play(story)


def test_many_misses_are_one_look(play: Callable[[Play], None]) -> None:
    async def story(world: World) -> None:
        await world.sync.refresh()
        world.store.delay_s = 0.05
        world.now += 10
        before = len(world.store.requests)
        found = await asyncio.gather(*(world.sync.seek(f"default/unknown-{number}") for number in range(50)))
        assert set(found) == {None}
        assert len(world.store.requests) == before + 1
        world.now += MISS_GAP_S / 2
        started = time.monotonic()
        world.store.entities = [entity("a")]
        assert await world.sync.seek("default/a") is not None
        assert len(world.store.requests) == before + 2
        assert time.monotonic() - started > MISS_GAP_S / 2, "one look just after another has to wait"

    play(story)


def test_a_defect_in_one_adapter_spares_the_others(play: Callable[[Play], None]) -> None:
    async def story(world: World) -> None:
        world.store.entities = [entity("a"), entity("b")]
        world.cache.problems["default/a"] = RuntimeError("a defect")
        await world.sync.refresh()
        assert set(world.server.served) == {"default/b"}
        assert "a defect" in (world.sync.trouble("default/a") or "")

    play(story)


def test_watch_goes_on_after_a_defect(play: Callable[[Play], None], caplog: pytest.LogCaptureFixture) -> None:
    async def story(world: World) -> None:
        loaded = asyncio.Event()
        load = world.server.load

        async def load_or_fail(adapter_id: str, folder: Path) -> None:
            if not caplog.records:
                raise RuntimeError("a defect")
            await load(adapter_id, folder)
            loaded.set()

        world.server.load = load_or_fail
        world.store.entities = [entity("a")]
        watching = asyncio.create_task(world.sync.watch())
        await loaded.wait()
        watching.cancel()
        assert "a defect" in caplog.text

    play(story)


def test_a_turn_without_news_asks_for_no_adapter_by_itself(play: Callable[[Play], None]) -> None:
    """With a thousand adapters a listing for each of them stopped all streams for seconds at every turn."""

    async def story(world: World) -> None:
        world.store.entities = [entity(f"a{number}") for number in range(50)]
        await world.sync.refresh()
        assert len(world.server.served) == 50
        world.server.listings, world.cache.fetched[:] = 0, []
        await world.sync.refresh()
        assert world.server.listings == 1
        assert world.cache.fetched == []

    play(story)
