"""Aliases of the NIM, in front of a small app in the place of vLLM's: who answers, what is counted, what is refused."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from embedded.nim.alias_routes import add_alias_routes
from embedded.nim.aliases import SHADOW, AliasBook, AliasRouting
from embedded.nim.samples import IDLE_S, Sampler
from nemostack.aliases import Alias, Route, Sampling

CHAT = "/v1/chat/completions"


class Engine:
    """Answers with the name of the model that was asked; `broken` ones fail, `gone` ones are not served."""

    def __init__(self, file: Path) -> None:
        self.asked: list[dict[str, Any]] = []
        self.broken: set[str] = set()
        self.gone: set[str] = set()
        self.app = FastAPI()
        self.book = AliasBook(file)
        self.app.state.alias_book = self.book
        self.app.add_middleware(AliasRouting)
        self.app.add_api_route(CHAT, self.chat, methods=["POST"])

        async def served(model: str) -> str | None:
            return None if model in {"a/old", "a/new"} - self.gone else "no such model is served"

        add_alias_routes(self.app, self.book, served)

    async def chat(self, request: Request) -> Any:
        body = await request.json()
        self.asked.append(body)
        if body["model"] in self.gone:
            return JSONResponse({"error": {"message": "does not exist"}}, status_code=404)
        if body["model"] in self.broken:
            raise RuntimeError("the engine fails")
        if body.get("bad"):
            return JSONResponse({"error": {"message": "bad request"}}, status_code=400)
        if body.get("stream"):
            return StreamingResponse(self.tokens(body["model"]), media_type="text/event-stream")
        return {"model": body["model"], "choices": [{"message": {"content": f"says {body['model']}"}}]}

    async def tokens(self, model: str) -> AsyncIterator[str]:
        for number in range(3):
            delta = {"delta": {"content": f"{model} {number}"}}
            yield f"data: {json.dumps({'choices': [delta]})}\n\n"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path / "aliases.json")


def talk(engine: Engine, what: Callable[[httpx.AsyncClient], Any]) -> Any:
    async def conversation() -> Any:
        transport = httpx.ASGITransport(engine.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://nim") as client:
            result = await what(client)
            routing = engine.app.middleware_stack
            while routing is not None and not isinstance(routing, AliasRouting):
                routing = getattr(routing, "app", None)
            if routing is not None:
                await asyncio.gather(*routing._shadows)
            return result

    return asyncio.run(conversation())


def share(engine: Engine, old: float, new: float, **more: Any) -> Alias:
    alias = Alias(routes=(Route(model="a/old", weight=old), Route(model="a/new", weight=new)), **more)
    engine.book.put("prod", alias)
    return alias


def ask_many(engine: Engine, count: int, **body: Any) -> list[httpx.Response]:
    async def all_of_them(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.post(CHAT, json={"model": "prod", **body}) for _ in range(count)]

    return list(talk(engine, all_of_them))


def test_requests_follow_the_weights_and_say_who_answered(engine: Engine) -> None:
    share(engine, 75, 25)
    answers = ask_many(engine, 400)
    found = Counter(answer.json()["model"] for answer in answers)
    assert found["a/old"] + found["a/new"] == 400
    assert 60 < found["a/new"] < 145  # 100 by the binomial, give or take more than four standard deviations
    assert all(answer.headers["x-nemostack-model"] == answer.json()["model"] for answer in answers)


def test_a_user_stays_with_a_model(engine: Engine) -> None:
    share(engine, 50, 50)
    by_user = {user: {a.json()["model"] for a in ask_many(engine, 5, user=user)} for user in map(str, range(20))}
    assert all(len(models) == 1 for models in by_user.values())
    assert len(set.union(*by_user.values())) == 2


def test_other_names_and_bodies_pass_untouched(engine: Engine) -> None:
    share(engine, 1, 0)

    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.post(CHAT, json={"model": "a/new"}), await client.post(CHAT, content=b"{no json")]

    named, broken = talk(engine, ask)
    assert named.json()["model"] == "a/new"
    assert "x-nemostack-model" not in named.headers
    assert broken.status_code == 500  # as this app answers by itself


def test_a_stream_is_passed_on(engine: Engine) -> None:
    share(engine, 0, 1)
    (answer,) = ask_many(engine, 1, stream=True)
    assert [json.loads(line[6:])["choices"][0]["delta"]["content"] for line in answer.text.split("\n\n") if line] == [
        "a/new 0",
        "a/new 1",
        "a/new 2",
    ]


@pytest.mark.parametrize("trouble", ["broken", "gone"])
def test_nobody_sees_a_canary_fail(engine: Engine, trouble: str) -> None:
    share(engine, 50, 50)
    getattr(engine, trouble).add("a/new")
    answers = ask_many(engine, 40)
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["model"] for answer in answers} == {"a/old"}
    state = engine.book.state("prod")
    assert state is not None
    new, old = state.stats["a/new"], state.stats["a/old"]
    assert new.failures == new.requests > 5
    assert (old.requests, old.failures) == (40, 0)
    assert old.total_p95 is not None


def test_the_stable_models_failures_are_seen(engine: Engine) -> None:
    share(engine, 1, 0)
    engine.broken = {"a/old"}
    assert ask_many(engine, 1)[0].status_code == 500


def test_a_bad_request_is_the_users_own(engine: Engine) -> None:
    share(engine, 0, 1)
    assert ask_many(engine, 1, bad=True)[0].status_code == 400
    state = engine.book.state("prod")
    assert state is not None
    assert state.stats["a/new"].failures == 0
    assert [body["model"] for body in engine.asked] == ["a/new"]  # not asked of another one


def test_a_shadow_is_asked_and_answers_nobody(engine: Engine) -> None:
    share(engine, 1, 0, shadow={"model": "a/new", "share": 1.0})
    engine.broken = {"a/new"}
    (answer,) = ask_many(engine, 1, messages=[{"role": "user", "content": "안녕"}])
    assert answer.json()["model"] == "a/old"
    assert [body["model"] for body in engine.asked] == ["a/old", "a/new"]
    assert engine.asked[1]["messages"] == engine.asked[0]["messages"]
    assert engine.book.tally("prod", SHADOW).failures == 1


def test_aliases_survive_a_restart_and_begin_to_count_anew_when_they_change(engine: Engine, tmp_path: Path) -> None:
    alias = share(engine, 1, 0)
    ask_many(engine, 3)
    assert AliasBook(tmp_path / "aliases.json").get("prod") == alias
    share(engine, 1, 1)
    state = engine.book.state("prod")
    assert state is not None
    assert state.stats == {}


def test_a_damaged_file_is_no_empty_book(tmp_path: Path) -> None:
    (tmp_path / "aliases.json").write_text("{")
    with pytest.raises(ValueError, match=r"aliases\.json holds no aliases"):
        AliasBook(tmp_path / "aliases.json")


@pytest.mark.parametrize(
    ("name", "body", "status", "says"),
    [
        ("prod", {"routes": []}, 422, "routes"),
        ("prod", {"routes": [{"model": "a/old", "weight": 0}]}, 422, "add up to nothing"),
        ("prod", {"routes": [{"model": "a/old", "weight": 1}] * 2}, 422, "stands there twice"),
        ("prod", {"routes": [{"model": "a/old", "weight": -1}]}, 422, "weight"),
        ("prod", {"routes": [{"model": "a/old", "weight": 1}], "more": 1}, 422, "more"),
        ("PROD", {"routes": [{"model": "a/old", "weight": 1}]}, 422, "pattern"),
        ("prod", {"routes": [{"model": "a/none", "weight": 1}]}, 409, "no such model is served"),
        ("prod", {"routes": [{"model": "a/old", "weight": 1}], "shadow": {"model": "x"}}, 409, "lead to `x`"),
    ],
)
def test_aliases_that_cannot_be_used_are_refused(engine: Engine, name: str, body: Any, status: int, says: str) -> None:
    async def put(client: httpx.AsyncClient) -> httpx.Response:
        return await client.put(f"/v1/aliases/{name}", json=body)

    answer = talk(engine, put)
    assert answer.status_code == status
    assert says in answer.json()["error"]["message"]
    assert not engine.book


def test_life_of_an_alias(engine: Engine) -> None:
    async def live(client: httpx.AsyncClient) -> list[httpx.Response]:
        body = {"routes": [{"model": "a/old", "weight": 1}]}
        return [
            await client.get("/v1/aliases/prod"),
            await client.put("/v1/aliases/prod", json=body),
            await client.get("/v1/aliases"),
            await client.delete("/v1/aliases/prod"),
            await client.delete("/v1/aliases/prod"),
        ]

    missing, put, listed, deleted, again = talk(engine, live)
    assert [one.status_code for one in (missing, put, listed, deleted, again)] == [404, 200, 200, 200, 404]
    assert [row["name"] for row in listed.json()["data"]] == ["prod"]
    assert json.loads(put.text)["alias"]["routes"] == [{"model": "a/old", "weight": 1.0}]


async def sampled(client: httpx.AsyncClient, after: int = 0) -> list[dict[str, Any]]:
    answer = await client.get("/v1/aliases/prod/samples", params={"after": after})
    return list(answer.json()["data"]) if answer.status_code == 200 else []


def asking(text: str, **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": "earlier"}, {"role": "user", "content": text}]
    return {"model": "prod", "user": "kim@example.com", "messages": turns, **more}


def test_nothing_is_sampled_unless_asked_for_and_then_no_more_than_that(engine: Engine) -> None:
    share(engine, 1, 0)

    async def conversation(client: httpx.AsyncClient) -> None:
        await client.post(CHAT, json=asking("before"))
        assert (await client.get("/v1/aliases/prod/samples")).status_code == 404
        assert (await client.put("/v1/aliases/none/samples", json={"share": 1})).status_code == 404
        assert (await client.put("/v1/aliases/prod/samples", json={"share": 2})).status_code == 422
        assert (await client.put("/v1/aliases/prod/samples", json={"share": 1, "keep": 2})).status_code == 200
        for number in range(3):
            await client.post(CHAT, json=asking(f"question {number}" + "x" * 9000))
        await client.post(CHAT, json=asking("streamed", stream=True))
        await client.post(CHAT, json=asking("refused", bad=True))
        rows = await sampled(client)
        assert [row["number"] for row in rows] == [3, 4]  # the newest two
        assert rows[0]["prompt"] == ("question 2" + "x" * 9000)[:4000]
        assert (rows[1]["prompt"], rows[1]["answer"]) == ("streamed", "a/old 0a/old 1a/old 2")
        assert "kim" not in json.dumps(rows)
        assert "earlier" not in json.dumps(rows)
        assert [row["number"] for row in await sampled(client, after=3)] == [4]
        assert (await client.delete("/v1/aliases/prod/samples")).status_code == 200
        assert (await client.delete("/v1/aliases/prod/samples")).status_code == 404
        await client.post(CHAT, json=asking("after"))
        assert await sampled(client) == []

    talk(engine, conversation)
    engine.book.samples.begin("prod", Sampling(share=1))
    assert engine.book.remove("prod")
    assert engine.book.samples.get("prod") is None


def test_a_share_is_sampled_and_what_nobody_reads_is_dropped() -> None:
    now = 0.0
    sampler = Sampler(Sampling(share=0.25), clock=lambda: now)
    drawn = sum(sampler.draw() for _ in range(4000))
    assert 850 < drawn < 1150
    now = IDLE_S
    assert not sampler.idle
    sampler.after(0)
    now = 2 * IDLE_S + 1
    assert sampler.idle


def test_calls_of_tools_and_failures_are_no_answers() -> None:
    sampler = Sampler(Sampling(share=1))
    tools = json.dumps({"choices": [{"message": {"content": None, "tool_calls": [{}]}}]}).encode()
    for body in (tools, b"", b"no json", b"data: [DONE]"):
        sampler.add("m", asking("x"), body)
    sampler.add("m", {"prompt": "p"}, json.dumps({"choices": [{"text": "t"}]}).encode())
    assert [(row.prompt, row.answer) for row in sampler.after(0)] == [("p", "t")]
