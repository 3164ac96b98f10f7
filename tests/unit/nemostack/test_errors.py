"""Every failure of a client library becomes one of ours, with what was tried, what came back and what to do."""

import io
import json
import zipfile
from collections.abc import Callable

import httpx
import httpx2
import huggingface_hub.errors
import openai
import pytest
import requests

from nemostack.clients import Clients, Timeouts
from nemostack.clients.error_mapping import calling, translate
from nemostack.clients.line import Evaluations
from nemostack.clients.nim import Nim
from nemostack.errors import Conflict, NotFound, ServiceError, Unreachable
from tests.unit.fake_stack import FakeStack


def clients(stack: FakeStack, handler: Callable[[httpx.Request], httpx.Response]) -> Clients:
    return Clients(stack.outputs, max_retries=0, transport=httpx.MockTransport(handler))


def raising(error: Exception) -> Callable[[httpx.Request], httpx.Response]:
    def handle(_request: httpx.Request) -> httpx.Response:
        raise error

    return handle


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ServiceError),
        (404, NotFound),
        (409, Conflict),
        (422, ServiceError),
        (429, ServiceError),
        (500, ServiceError),
    ],
)
def test_status_of_the_sdk(stack: FakeStack, status: int, kind: type[ServiceError]) -> None:
    given = clients(stack, lambda _r: httpx.Response(status, json={"detail": "no such job"}))
    with given, pytest.raises(ServiceError) as caught:
        given.customizer.get("cust-9")
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert "looking at customization job cust-9: Customizer at http" in str(caught.value)
    assert "no such job" in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("hung up"),
        httpx.ReadError("reset"),
    ],
)
def test_no_answer_of_the_sdk(stack: FakeStack, error: Exception) -> None:
    with clients(stack, raising(error)) as given, pytest.raises(Unreachable, match=r"no answer from Evaluator.*doctor"):
        given.evaluator.get("eval-1")


def test_validation_errors_are_one_line(stack: FakeStack) -> None:
    body = {"detail": [{"loc": ["body", "config"], "msg": "field required", "type": "missing"}]}
    given = clients(stack, lambda _r: httpx.Response(422, json=body))
    with given, pytest.raises(ServiceError, match=r"body.config: field required") as caught:
        given.evaluator.ping()
    assert "\n" not in str(caught.value)


def test_gateway_that_has_no_upstream_gives_a_hint(stack: FakeStack) -> None:
    given = clients(stack, lambda _r: httpx.Response(502, text="<html>Bad Gateway</html>"))
    with given, pytest.raises(ServiceError, match=r"502.*not ready"):
        given.entity_store.ping()


@pytest.mark.parametrize(
    "error",
    [httpx2.ConnectError("refused"), httpx2.ReadTimeout("slow"), ConnectionResetError("x"), TimeoutError()],
)
def test_no_answer_of_the_other_libraries(error: Exception) -> None:
    assert isinstance(translate(error, "S", "http://s", "trying"), Unreachable)


@pytest.mark.parametrize("connect_error", [httpx.ConnectError, httpx2.ConnectError, requests.exceptions.SSLError])
def test_a_private_ca_has_its_remedy(connect_error: type[Exception]) -> None:
    error = connect_error(
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate in chain"
    )
    assert "set SSL_CERT_FILE and REQUESTS_CA_BUNDLE" in str(translate(error, "S", "https://s", "trying"))
    assert "SSL_CERT_FILE" not in str(translate(connect_error("refused"), "S", "https://s", "trying"))


def test_offline_mode_of_the_hub_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    error = huggingface_hub.errors.OfflineModeIsEnabled("offline mode is enabled")
    assert "offline mode" in str(translate(error, "Data Store", "http://s", "trying"))


def test_openai(stack: FakeStack) -> None:
    transport = httpx2.MockTransport(lambda _r: httpx2.Response(404, json={"message": "The model `x` does not exist."}))
    nim = Nim("http://nim", Timeouts(), max_retries=0, transport=transport)
    with pytest.raises(NotFound, match="The model `x` does not exist"):
        nim.chat("x", "hello")
    nim.close()
    assert isinstance(
        translate(openai.APITimeoutError(httpx2.Request("GET", "http://nim")), "NIM", "http://nim", "t"), Unreachable
    )


def test_bugs_pass_through() -> None:
    with pytest.raises(KeyError), calling("S", "http://s", "trying"):
        raise KeyError("ours")


def test_credentials_in_urls_are_hidden() -> None:
    error = translate(ConnectionError("http://me:pw@host/x failed"), "S", "http://me:pw@host", "trying")
    assert "pw" not in str(error)


def test_hub_missing_repository(stack: FakeStack) -> None:
    with Clients(stack.outputs, max_retries=0) as given:
        with pytest.raises(NotFound, match="listing the files of a/b"):
            given.data_store.files("a/b")
        assert given.data_store.has("a/b") is False
        assert given.data_store.delete("a/b", "model") is False


def test_empty_commit_url_of_real_data_stores(stack: FakeStack) -> None:
    stack.empty_commit_url = True
    with Clients(stack.outputs, max_retries=0) as given:
        given.data_store.upload("ns/name", {"a/b.txt": b"content"}, message="m")
        assert given.data_store.read("ns/name", "a/b.txt") == b"content"


def test_commit_that_was_not_made_is_noticed(stack: FakeStack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.empty_commit_url = True
    with Clients(stack.outputs, max_retries=0) as given:
        monkeypatch.setattr(given.data_store, "files", lambda _repo: [])
        with pytest.raises(ServiceError, match=r"took the commit but lacks a/b.txt"):
            given.data_store.upload("ns/name", {"a/b.txt": b"content"}, message="m")


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def samples_of(stack: FakeStack, archive: bytes) -> Evaluations:
    given = clients(stack, lambda _r: httpx.Response(200, content=archive))
    return given.evaluator


def test_samples_are_found_in_a_subfolder_and_sorted(stack: FakeStack) -> None:
    lines = [{"index": i, "sample": {"output_text": f"o{i}"}, "scores": {"a.b": i, "a.c": None}} for i in (1, 0)]
    archive = zipped("results/t/samples.jsonl", "\n".join(map(json.dumps, lines)).encode())
    found = samples_of(stack, archive).samples("eval-1", "t")
    assert found is not None
    assert [(s.index, s.output, s.scores) for s in found] == [(0, "o0", {"a.b": 0.0}), (1, "o1", {"a.b": 1.0})]


def test_path_in_the_archive_is_never_used(stack: FakeStack) -> None:
    assert samples_of(stack, zipped("../../etc/passwd", b"x")).samples("eval-1", "t") is None


@pytest.mark.parametrize(
    "archive",
    [b"no zip", zipped("t/samples.jsonl", b"no json\n"), zipped("t/samples.jsonl", b'{"index": "x"}\n')],
    ids=["no archive", "no JSON", "no number"],  # an archive holds the time: its bytes differ from process to process
)
def test_broken_archives(stack: FakeStack, archive: bytes) -> None:
    with pytest.raises(ServiceError, match="eval-1"):
        samples_of(stack, archive).samples("eval-1", "t")


def test_archive_bomb_is_refused(stack: FakeStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nemostack.clients.evaluator.MAX_UNZIPPED", 1 << 20)
    bomb = zipped("t/samples.jsonl", b"0" * (2 << 20))
    assert len(bomb) < 10_000
    with pytest.raises(ServiceError, match="unpacks to more than"):
        samples_of(stack, bomb).samples("eval-1", "t")
