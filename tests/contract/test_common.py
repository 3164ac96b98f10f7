"""What all embedded services share, through a small service made of it; and the entry point `embedded.serve`."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Body
from huggingface_hub import HfApi
from pydantic import ValidationError
from starlette.datastructures import QueryParams

from embedded import serve
from embedded.common import errors, listing, names, processor
from embedded.common.files_url import FilesUrl, FilesUrlError
from embedded.common.processor import multiplies_bfloat16, multiplies_bfloat16_faster
from embedded.common.service import HEALTH_PATHS, ServiceSettings, create_service
from nemostack.clone import ROOT
from tests.contract.conftest import STOPPED_S, free_port, wait_until

# -- names


def test_ids_are_base58_of_a_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names.uuid, "uuid4", lambda: uuid.UUID(int=58**21 + 57))
    assert names.new_id("cust") == "cust-2" + "1" * 20 + "z"
    monkeypatch.setattr(names.uuid, "uuid4", lambda: uuid.UUID(int=2**128 - 1))
    assert names.new_id("x") == "x-YcVfxkQb6JRzqk5kF2tNLv"  # known base58 of 16 bytes ff


def test_ids_do_not_repeat() -> None:
    assert len({names.new_id("a") for _ in range(1000)}) == 1000


def test_now() -> None:
    moment = datetime.strptime(names.now(), "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=UTC)
    assert abs(moment - datetime.now(UTC)) < timedelta(seconds=10)


@pytest.mark.parametrize("text", ["a", "a.b", "llama-3.2-1b@v1.0.0+A100", "x" * 255, "0"])
def test_good_names(text: str) -> None:
    assert names.is_name(text)


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a..b", "a/b", "a b", ".a", "-a", "x" * 256, "a\n", "a\x00", "\u00fc", "a\\b"]
)
def test_bad_names(text: str) -> None:
    assert not names.is_name(text)


def test_references() -> None:
    assert names.Ref.parse("ns/a@v1+x") == ("ns", "a@v1+x")
    assert names.Ref.parse("a") == ("default", "a")
    assert str(names.Ref("ns", "a")) == "ns/a"
    for bad in ("", "/a", "a/", "a/b/c", "../a", "a//b"):
        with pytest.raises(ValueError, match="no reference"):
            names.Ref.parse(bad)


# -- addresses of files


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf://datasets/ns/d", ("dataset", "ns/d", "main", "")),
        ("hf://datasets/ns/d/", ("dataset", "ns/d", "main", "")),
        ("hf://datasets/ns/d/testing/a.jsonl", ("dataset", "ns/d", "main", "testing/a.jsonl")),
        ("hf://models/ns/m@cust-1", ("model", "ns/m", "cust-1", "")),
        ("nds://models/ns/m@v1/f/x", ("model", "ns/m", "v1", "f/x")),
        ("nds:models/ns/m", ("model", "ns/m", "main", "")),
        ("hf://ns/d", ("dataset", "ns/d", "main", "")),
    ],
)
def test_files_urls(text: str, parts: tuple[str, ...]) -> None:
    url = FilesUrl.parse(text)
    assert (url.repo_type, str(url.repo), url.revision, url.path) == parts
    assert FilesUrl.parse(str(url)) == url


@pytest.mark.parametrize("text", ["", "s3://x/y", "hf://datasets/ns", "hf://datasets/ns/d/../x", "hf://datasets/../d"])
def test_bad_files_urls(text: str) -> None:
    with pytest.raises(FilesUrlError, match=re.escape(repr(text))):
        FilesUrl.parse(text)


def test_files_url_without_kind_may_be_a_model() -> None:
    assert FilesUrl.parse("hf://ns/m@v1", default_type="model").repo_type == "model"


@pytest.fixture
def dataset(hub: HfApi, unique: str) -> str:
    hub.create_repo(f"{unique}/d", repo_type="dataset")
    for path in ("training/a.jsonl", "training/b.jsonl", "testing/[x]*.jsonl", "testing/x.jsonl"):
        hub.upload_file(path_or_fileobj=path.encode(), path_in_repo=path, repo_id=f"{unique}/d", repo_type="dataset")
    return f"hf://datasets/{unique}/d"


def fetched(folder: Path) -> set[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in paths if path.parts[0] != ".cache"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", {"training/a.jsonl", "training/b.jsonl", "testing/[x]*.jsonl", "testing/x.jsonl"}),
        ("/training", {"training/a.jsonl", "training/b.jsonl"}),
        ("/training/a.jsonl", {"training/a.jsonl"}),
        ("/testing/[x]*.jsonl", {"testing/[x]*.jsonl"}),
    ],
)
def test_download(dataset: str, data_store_url: str, tmp_path: Path, path: str, expected: set[str]) -> None:
    found = FilesUrl.parse(dataset + path).download(data_store_url, tmp_path)
    assert found == tmp_path / path.strip("/")
    assert fetched(tmp_path) == expected


def test_download_says_what_is_missing(dataset: str, data_store_url: str, unique: str, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()  # what is there already is no answer
    for text, says in [
        (f"{dataset}/nothing", "holds no 'nothing'"),
        (f"hf://datasets/{unique}/none", "upload the files first"),
        (f"{dataset}@cust-1", "no revision 'cust-1'"),
    ]:
        with pytest.raises(FilesUrlError, match=says):
            FilesUrl.parse(text).download(data_store_url, tmp_path)
    dead = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(FilesUrlError, match=re.escape(dead)) as caught:
        FilesUrl.parse(dataset).download(dead, tmp_path)
    assert "\n" not in str(caught.value)


# -- lists

ITEMS: list[dict[str, Any]] = [
    {"name": "b", "size": 10, "flag": True, "created_at": "2026-01-05T12:00:00.000000", "tags": {"k": "Red"}},
    {"name": "a", "size": 9, "flag": False, "created_at": "2026-01-06T00:00:00.000000", "tags": None},
    {"name": "c", "size": None, "flag": None, "created_at": "2026-01-04T23:59:59.999999", "tags": {"k": "blue"}},
]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "cba"),
        ("sort=name", "abc"),
        ("sort=size", "abc"),  # by number, what has none last
        ("filter[flag]=true", "b"),
        ("filter[flag]=false", "ca"),  # false, and absent
        ("filter[tags]=true", "cb"),
        ("filter[tags]=false", "a"),
        ("filter[tags][k]=Red", "b"),
        ("filter[size]=9", "a"),
        ("filter[name]=a,b", "ba"),
        ("filter[name]=a&filter[name]=c", "ca"),
        ("search[tags]=re", "b"),
        ("search[name]=A", "a"),
        ("filter[created_at][gte]=2026-01-05", "ba"),
        ("filter[created_at][gt]=2026-01-05", "a"),
        ("filter[created_at][lt]=2026-01-05", "c"),
        ("filter[created_at][lte]=2026-01-05", "cb"),
        ("filter[created_at][eq]=2026-01-05", "b"),
        ("filter[created_at][neq]=2026-01-05", "ca"),
        ("search[created_at][start]=2026-01-05T12:00:00Z", "ba"),
        ("search[created_at][start]=2026-01-05T14:00:00%2B02:00", "ba"),
        ("search[created_at][end]=2026-01-05T11:59:59", "c"),
    ],
)
def test_lists(query: str, expected: str) -> None:
    assert "".join(item["name"] for item in listing.page(ITEMS, QueryParams(query))["data"]) == expected


def test_an_empty_list_sorts_by_anything() -> None:
    assert listing.page([], QueryParams("sort=colour"))["pagination"]["total_pages"] == 0


@pytest.mark.parametrize(
    "query",
    [
        "sort=colour",
        "page=0",
        "page=\u0661",
        "page_size=1001",
        "filter=x",
        "search[created_at][end]=x",
        "filter[colour]=red",
    ],
)
def test_bad_lists(query: str) -> None:
    with pytest.raises(errors.Unprocessable):
        listing.page(ITEMS, QueryParams(query), filter_fields=["name"] if "colour]" in query else None)


# -- the skeleton


@pytest.fixture(scope="module")
def skeleton(start_app) -> str:
    app = create_service("Skeleton", max_body_bytes=1000)

    @app.get("/raise/{kind}")
    def raise_it(kind: str) -> None:
        raise {
            "409": errors.Conflict("taken"),
            "404": errors.NotFound("none"),
            "bug": ZeroDivisionError(),
            "full": OSError(errno.ENOSPC, "full"),
            "os": OSError(errno.EIO, "io"),
        }[kind]

    @app.post("/echo")
    def echo(body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        return body

    return start_app(app)


@pytest.mark.parametrize("path", HEALTH_PATHS)
def test_health(skeleton: str, path: str) -> None:
    assert httpx.get(skeleton + path).json()["status"] == "healthy"


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("raise/404", 404, "none"),
        ("raise/409", 409, "taken"),
        ("raise/full", 507, "no space left"),
        ("nowhere", 404, "GET /nowhere"),
        ("echo", 405, "GET /echo"),
        ("raise/bug", 500, "ZeroDivisionError"),
        ("raise/os", 500, "OSError"),
    ],
)
def test_errors_are_json(skeleton: str, path: str, status: int, says: str) -> None:
    answer = httpx.get(f"{skeleton}/{path}")
    assert answer.status_code == status
    assert says in answer.json()["detail"]
    assert (answer.headers.get("x-should-retry") == "false") is (status == 409)


def test_bodies_are_limited_announced_or_not(skeleton: str) -> None:
    big = json.dumps({"a": "x" * 1000}).encode()
    assert httpx.post(f"{skeleton}/echo", content=big).status_code == 413
    chunked = httpx.post(
        f"{skeleton}/echo", content=iter([big[:500], big[500:]]), headers={"content-type": "application/json"}
    )
    assert chunked.status_code == 413
    assert "1000 bytes" in chunked.json()["detail"]
    assert httpx.post(f"{skeleton}/echo", json={"a": "x" * 900}).status_code == 200


def test_settings_refuse_unknown_keys_and_bad_ports(tmp_path: Path) -> None:
    for bad in ({"port": 0}, {"port": 70_000}, {"port": 1, "colour": "red"}):
        with pytest.raises(ValidationError):
            ServiceSettings(data_dir=tmp_path, **bad)
    assert ServiceSettings(port=1, data_dir=tmp_path).host == "127.0.0.1"


# -- embedded.serve


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no json", "cannot be read as JSON"),
        ('{"port": 1}', "data_dir: field required"),
        ('{"port": 1, "data_dir": "x", "password": "s3cret"}', "password: extra inputs"),
        ("[]", ": input should be"),
    ],
)
def test_a_bad_config_is_told_in_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    config = tmp_path / "c.json"
    config.write_text(text)
    assert serve.main(["data_store", str(config)]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert all(line.startswith(f"data_store: config {config}") for line in told.splitlines())
    assert "s3cret" not in told


def test_a_missing_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.main(["data_store", str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["data_store", "entity_store"])
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_service_within_5_s(start_process, name: str, stop: signal.Signals) -> None:
    running = start_process(name)
    with httpx.Client() as client:  # an idle connection must not hold it up
        assert client.get(f"{running.url}/health").status_code == 200
        started = time.monotonic()
        running.process.send_signal(stop)
        wait_until(lambda: running.process.poll() is not None, "the end", STOPPED_S)
    assert time.monotonic() - started < STOPPED_S
    assert running.process.returncode == 0, running.log.read_text()


def test_the_log_is_objects_where_that_is_asked_for(start_process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEMOSTACK_LOG_FORMAT", "json")
    running = start_process("entity_store")
    assert httpx.get(f"{running.url}/health").is_success
    running.process.terminate()
    running.process.wait(60)
    rows = [json.loads(line) for line in running.log.read_text().splitlines()]
    assert {"info"} == {row["level"] for row in rows}
    assert {"entity_store"} == {row["service"] for row in rows}
    assert any(row["event"].startswith("Uvicorn running on") for row in rows)


STUCK = """
import sys, time
from pathlib import Path
from contextlib import asynccontextmanager
from embedded.common.service import ServiceSettings, create_service, serve
@asynccontextmanager
async def lifespan(app):
    yield
    time.sleep(60)
serve(create_service("Stuck", lifespan), ServiceSettings(port=int(sys.argv[1]), data_dir=Path(".")))
"""


def test_a_stuck_service_is_cut_off_within_5_s() -> None:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", STUCK, str(port)], cwd=ROOT, stderr=subprocess.PIPE, text=True)

    def up() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health", timeout=1).is_success
        except httpx.HTTPError:
            return False

    wait_until(up, "its start")
    started = time.monotonic()
    process.terminate()
    _, told = process.communicate(timeout=60)
    assert time.monotonic() - started < STOPPED_S
    assert process.returncode == 1
    assert "did not stop within" in told


def test_a_taken_port_is_told_without_a_traceback(start_process, tmp_path: Path) -> None:
    running = start_process("entity_store")
    config = tmp_path / "c.json"
    config.write_text(json.dumps({"port": int(running.url.rpartition(":")[2]), "data_dir": str(tmp_path / "d")}))
    command = [sys.executable, "-m", "embedded.serve", "entity_store", str(config)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False, env=dict(os.environ)
    )
    assert done.returncode == 3
    assert "address already in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "multiplies", "faster"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_vnni\n", False, False),
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512f avx512_bf16\n", True, False),
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16 amx_tile amx_bf16\n", True, True),
        ("vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx512f avx512_bf16\n", True, True),
        ("processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\n", True, True),
        ("model name\t: bf16 amx_bf16\nflags\t\t: fpu\n", False, False),
    ],
)
def test_what_a_processor_does_with_bfloat16_is_read_from_its_flags(tmp_path, text, multiplies, faster):
    (tmp_path / "cpuinfo").write_text(text)
    assert multiplies_bfloat16(tmp_path / "cpuinfo") == multiplies
    assert multiplies_bfloat16_faster(tmp_path / "cpuinfo") == faster
    assert not multiplies_bfloat16(tmp_path / "absent")
    assert not multiplies_bfloat16_faster(tmp_path / "absent")


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 1), (16, 8)])
def test_work_beside_a_model_takes_half_of_the_cores_that_the_process_may_use(monkeypatch, cores, threads):
    monkeypatch.setattr(processor.os, "sched_getaffinity", lambda _pid: set(range(cores)))
    assert processor.threads_beside_a_model() == threads


@pytest.mark.parametrize(
    ("accelerator", "faster", "expected"), [("cpu", True, "bf16"), ("cpu", False, "fp32"), ("cuda", False, "bf16")]
)
def test_weights_are_computed_in_the_format_that_is_fastest_here(monkeypatch, accelerator, faster, expected):
    monkeypatch.setattr(processor, "multiplies_bfloat16_faster", lambda: faster)
    assert processor.fastest_precision(accelerator) == expected
