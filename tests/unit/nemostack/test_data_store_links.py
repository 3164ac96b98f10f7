"""Large files on a stack without routes: the Data Store's links name it as pods do, and the client still gets there."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from huggingface_hub import constants

from nemostack.clients import Timeouts
from nemostack.clients.data_store import DataStore

FORWARDED = "http://127.0.0.1:13000"
IN_CLUSTER = "http://nemo-data-store.nemo-datastore.svc.cluster.local:3000"
CONTENT = b"\x00weights" * 1000


class Server:
    """What a Data Store with an in-cluster root URL answers; any other address cannot be reached."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.hosts: set[str] = set()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.hosts.add(request.headers["host"])
        if str(request.url.copy_with(raw_path=b"/")).rstrip("/") != FORWARDED:
            raise httpx2.ConnectError(f"{request.url.host}: name or service not known", request=request)
        path = request.url.path
        if path.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(request.content)["files"]]
            return self.json({"files": [{"path": name, "uploadMode": "lfs", "shouldIgnore": False} for name in names]})
        if path.endswith("/info/lfs/objects/batch"):
            return self.json(
                {"transfer": "basic", "objects": [self.link(o) for o in json.loads(request.content)["objects"]]}
            )
        if request.method == "PUT":
            self.stored[path.rpartition("/")[2]] = request.read()
            return httpx2.Response(200)
        if path.endswith("/commit/main"):
            return self.json({"commitUrl": f"{FORWARDED}/datasets/ns/r/commit/{40 * 'a'}", "commitOid": 40 * "a"})
        if "/resolve/main/" in path:
            return httpx2.Response(302, headers={"location": f"{IN_CLUSTER}/ns/r.git/info/lfs/objects/x"})
        if request.method == "GET" and path.endswith("/info/lfs/objects/x"):
            return httpx2.Response(200, content=CONTENT)
        return self.json({"url": "datasets/ns/r", "name": "ns/r"})

    @staticmethod
    def json(body: Any) -> httpx2.Response:
        return httpx2.Response(200, json=body)

    @staticmethod
    def link(wanted: dict[str, Any]) -> dict[str, Any]:
        upload = {"href": f"{IN_CLUSTER}/ns/r.git/info/lfs/objects/{wanted['oid']}", "header": {}}
        return {"oid": wanted["oid"], "size": wanted["size"], "actions": {"upload": upload}}


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def store(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[DataStore]:
    for name in ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY"):  # as if somebody had imported the library before
        monkeypatch.setattr(constants, name, False)
    made = DataStore(FORWARDED, Timeouts(), httpx2.MockTransport(server))
    yield made
    made.close()


def test_upload_follows_the_links_of_a_store_that_only_the_cluster_resolves(store: DataStore, server: Server) -> None:
    store.upload("ns/r", {"weights.bin": CONTENT}, message="test")
    assert list(server.stored.values()) == [CONTENT]
    assert server.hosts == {"127.0.0.1:13000"}


def test_download_follows_its_redirect(store: DataStore) -> None:
    assert store.read("ns/r", "weights.bin") == CONTENT


def test_other_hosts_are_left_alone(store: DataStore, server: Server) -> None:
    with pytest.raises(httpx2.ConnectError, match=r"files\.example\.com"), store._client() as http:
        http.get("https://files.example.com/x")
    assert server.hosts == {"files.example.com"}
