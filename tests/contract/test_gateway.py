"""Gateway: routing, streaming, headers and failures, over real sockets with upstreams made up here."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from embedded.gateway import Settings
from tests.contract.conftest import STOPPED_S, Running, free_port, wait_until


class Upstream:
    """Echoes requests; streams; remembers whether a reader left."""

    def __init__(self, name: str) -> None:
        self.name, self.left, self.first_chunk = name, threading.Event(), threading.Event()
        self.app = FastAPI()
        self.app.add_api_route("/health", lambda: {"status": "healthy"})
        self.app.add_api_route("/v1/models/sse", self.sse)
        self.app.add_api_route("/v1/models/upload", self.upload, methods=["PUT"])
        self.app.add_api_route("/{path:path}", self.echo, methods=["GET", "POST", "PATCH", "DELETE"])

    async def echo(self, request: Request) -> dict[str, object]:
        raw = request.scope["raw_path"].decode()
        query = request.scope["query_string"].decode()
        body = (await request.body()).decode()
        return {"name": self.name, "raw": raw, "query": query, "body": body, "headers": dict(request.headers)}

    async def sse(self) -> StreamingResponse:
        async def events() -> AsyncIterator[str]:
            try:
                for number in range(200):
                    yield f"data: {number}\n\n"
                    await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                self.left.set()
                raise

        return StreamingResponse(events(), media_type="text/event-stream")

    async def upload(self, request: Request) -> dict[str, int]:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            self.first_chunk.set()
        return {"size": size}


@pytest.fixture(scope="module")
def upstream(start_app: Callable[..., str]) -> tuple[Upstream, str]:
    up = Upstream("models")
    return up, start_app(up.app)


@pytest.fixture(scope="module")
def dead() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def gateway(start_service: Callable[..., Running], start_app: Callable[..., str], upstream, dead: str) -> str:
    other = start_app(Upstream("other").app)
    routes = {"/v1/models": upstream[1], "/v1/models/deep": other, "/v1/evaluation": dead}
    return start_service("gateway", routes=routes).url


def test_longest_prefix_of_whole_segments_wins(gateway: str) -> None:
    assert httpx.get(f"{gateway}/v1/models").json()["name"] == "models"
    assert httpx.get(f"{gateway}/v1/models/ns/m").json()["name"] == "models"
    assert httpx.get(f"{gateway}/v1/models/deep/x").json()["name"] == "other"
    assert httpx.get(f"{gateway}/v1/models/deeper").json()["name"] == "models"
    assert httpx.get(f"{gateway}/v1/modelsx").status_code == 404


def test_unknown_prefix_is_404_and_names_the_known(gateway: str) -> None:
    answer = httpx.get(f"{gateway}/v3/nothing")
    assert answer.status_code == 404
    assert "/v3/nothing" in answer.json()["detail"]
    assert "/v1/evaluation, /v1/models, /v1/models/deep" in answer.json()["detail"]


def test_path_query_and_body_arrive_as_sent(gateway: str) -> None:
    url = f"{gateway}/v1/models/ns/a@v1.0+CPU%2Fx?filter[name]=a%2Cb&x=1"
    got = httpx.post(url, content='{"a": 1}').json()
    assert got["raw"] == "/v1/models/ns/a@v1.0+CPU%2Fx"
    assert got["query"] == httpx.URL(url).query.decode()
    assert got["body"] == '{"a": 1}'


def test_hop_by_hop_headers_stay_and_forwarded_ones_are_added(gateway: str) -> None:
    sent = {
        "connection": "x-secret-hop",
        "x-secret-hop": "1",
        "te": "trailers",
        "x-kept": "2",
        "authorization": "Bearer t",
    }
    got = httpx.get(f"{gateway}/v1/models/a", headers={**sent, "x-forwarded-for": "10.0.0.9"}).json()["headers"]
    assert not {"x-secret-hop", "te"} & got.keys()
    assert got["x-kept"] == "2"
    assert got["authorization"] == "Bearer t"
    assert got["x-forwarded-for"] == "10.0.0.9, 127.0.0.1"
    assert got["x-forwarded-proto"] == "http"
    assert got["x-forwarded-host"] == httpx.URL(gateway).netloc.decode()


def test_events_come_one_by_one_and_a_leaving_reader_stops_the_upstream(gateway: str, upstream) -> None:
    started = time.monotonic()
    with httpx.stream("GET", f"{gateway}/v1/models/sse", timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(lines) == "data: 0"
        assert time.monotonic() - started < 5, "the whole stream takes 10 s: it was buffered"
    assert upstream[0].left.wait(60), "the upstream still writes to nobody"


def test_uploads_are_not_buffered(gateway: str, upstream) -> None:
    up = upstream[0]

    def body():
        yield b"x" * 1_000_000
        assert up.first_chunk.wait(30), "the upstream has seen nothing while the client still writes"
        yield b"y" * 500_000

    assert httpx.put(f"{gateway}/v1/models/upload", content=body(), timeout=60).json() == {"size": 1_500_000}


def test_dead_upstream_is_502_naming_it(gateway: str, dead: str) -> None:
    answer = httpx.get(f"{gateway}/v1/evaluation/jobs")
    assert answer.status_code == 502
    assert dead in answer.json()["detail"]


def test_health_reports_each_upstream(gateway: str, upstream, dead: str, start_service) -> None:
    answer = httpx.get(f"{gateway}/health")
    assert answer.status_code == 503
    states = answer.json()["upstreams"]
    assert states[upstream[1]] == "healthy"
    assert "ConnectError" in states[dead]
    whole = start_service("gateway", routes={"/v1/models": upstream[1]}).url
    assert httpx.get(f"{whole}/health").status_code == 200


@pytest.mark.parametrize("routes", [{}, {"v1": "http://x"}, {"/v1/": "http://x"}, {"/v1": "x:80"}])
def test_bad_routes_are_refused(routes: dict[str, str], tmp_path) -> None:
    with pytest.raises(ValidationError):
        Settings(port=1, data_dir=tmp_path, routes=routes)


def test_sigterm_ends_a_gateway_with_an_open_stream_within_5_s(start_process, upstream) -> None:
    running = start_process("gateway", routes={"/v1/models": upstream[1]})
    with httpx.stream("GET", f"{running.url}/v1/models/sse", timeout=30) as answer:
        next(answer.iter_lines())
        started = time.monotonic()
        running.process.terminate()
        wait_until(lambda: running.process.poll() is not None, "the gateway's end")
    assert time.monotonic() - started < STOPPED_S
    assert running.process.returncode == 0, running.log.read_text()
