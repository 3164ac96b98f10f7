"""Data Store and its disk: crashes, deletion, memory, interrupted downloads. Expected values are what went in."""

import base64
import hashlib
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from embedded.data_store import Settings
from embedded.data_store.app import create_app
from embedded.data_store.hub_errors import EntryNotFound, RepoNotFound
from embedded.data_store.names import RepoId
from embedded.data_store.storage import Storage
from tests.contract.conftest import Running, wait_until


def api(running: Running) -> HfApi:
    return HfApi(endpoint=f"{running.url}/v1/hf", token=False)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def ndjson(path: str, data: bytes, summary: str) -> bytes:
    file = {"path": path, "content": base64.b64encode(data).decode(), "encoding": "base64"}
    lines = [{"key": "header", "value": {"summary": summary}}, {"key": "file", "value": file}]
    return "\n".join(map(json.dumps, lines)).encode()


def check_whole(data_dir: Path, repo: str) -> set[str]:
    """Read the repository from disk, by the documented layout alone; returns the titles of its commits."""
    folder = data_dir / "repos" / "models" / repo
    commit_id, titles = (folder / "refs/heads/main").read_text(), set()
    while commit_id:
        data = (folder / "commits" / f"{commit_id}.json").read_bytes()
        assert hashlib.sha1(b"commit %d\0" % len(data) + data).hexdigest() == commit_id
        commit = json.loads(data)
        titles.add(commit["title"])
        for path, (sha256, size, _git, _lfs) in json.loads(
            (folder / f"trees/{commit['tree']}.json").read_bytes()
        ).items():
            blob = (folder / "blobs" / sha256[:2] / sha256[2:]).read_bytes()
            assert (len(blob), hashlib.sha256(blob).hexdigest()) == (size, sha256), path
        commit_id = commit["parent"]
    return titles


def test_kill_9_in_the_middle_of_commits_loses_nothing_that_was_acknowledged(start_process, tmp_path: Path) -> None:
    dice = random.Random(7)
    acknowledged: set[str] = set()
    for round_number in range(4):
        running = start_process("data_store", data_dir=tmp_path)
        api(running).create_repo("ns/r", exist_ok=True)

        def write(worker: int, running: Running = running, round_number: int = round_number) -> None:
            for number in range(1000):
                title = f"{round_number}-{worker}-{number}"
                body = ndjson(f"f{worker}/{number % 7}", os.urandom(200_000) + title.encode(), title)
                try:
                    answer = httpx.post(f"{running.url}/api/models/ns/r/commit/main", content=body, timeout=20)
                except httpx.HTTPError:
                    return
                assert answer.status_code == 200, answer.text
                acknowledged.add(title)

        writers = [threading.Thread(target=write, args=[worker]) for worker in range(4)]
        before = len(acknowledged)
        for writer in writers:
            writer.start()
        wait_until(lambda before=before: len(acknowledged) > before + 10, "some commits")
        time.sleep(dice.uniform(0, 0.3))
        running.process.kill()
        running.process.wait()
        for writer in writers:
            writer.join()
        assert acknowledged <= check_whole(tmp_path, "ns/r")
    running = start_process("data_store", data_dir=tmp_path)
    assert files_in(tmp_path / "tmp") == []
    assert acknowledged <= {commit.title for commit in api(running).list_repo_commits("ns/r")}
    api(running).snapshot_download("ns/r", local_dir=tmp_path / "down")
    down = {str(path.relative_to(tmp_path / "down")) for path in files_in(tmp_path / "down")}
    assert set(api(running).list_repo_files("ns/r")) == {path for path in down if not path.startswith(".cache")}
    assert len(acknowledged) >= 40
    running.stop()
    assert running.process.returncode == 0


def test_deleting_a_repository_frees_its_disk(start_service) -> None:
    running = start_service("data_store")
    hub = api(running)
    for name in ("ns/gone", "ns/stays"):
        hub.create_repo(name)
        hub.upload_file(path_or_fileobj=os.urandom(1_000_000), path_in_repo="x", repo_id=name)
    hub.delete_repo("ns/gone")
    left = files_in(running.data_dir)
    assert not [path for path in left if "gone" in path.parts]
    assert sum(path.stat().st_size for path in left) < 1_100_000
    assert files_in(running.data_dir / "trash") == files_in(running.data_dir / "tmp") == []
    assert hub.list_repo_files("ns/stays") == ["x"]


def test_refused_uploads_leave_no_temporary_files(start_service) -> None:
    running = start_service("data_store")
    hub = api(running)
    hub.create_repo("ns/r")
    url = f"{running.url}/api/models/ns/r/commit/main"
    assert httpx.post(url, content=ndjson("../x", b"1", "m")).status_code == 400

    def broken() -> Iterator[bytes]:
        yield b"x" * 300_000
        raise RuntimeError("the client breaks off")

    with pytest.raises(RuntimeError, match="breaks off"):
        httpx.post(url, content=broken())
    wait_until(lambda: files_in(running.data_dir / "tmp") == [], "the temporary files to go")


def test_the_same_content_is_stored_once(start_service) -> None:
    running = start_service("data_store")
    hub = api(running)
    hub.create_repo("ns/r")
    for path in ("a", "b/c"):
        hub.upload_file(path_or_fileobj=b"same" * 1000, path_in_repo=path, repo_id="ns/r")
    assert len(files_in(running.data_dir / "repos/models/ns/r/blobs")) == 1


def test_sweep_frees_what_nothing_leads_to_and_only_that(start_service, tmp_path: Path) -> None:
    running = start_service("data_store", data_dir=tmp_path)
    hub = api(running)
    hub.create_repo("ns/r")
    kept = {path: os.urandom(1000) for path in ("a", "b")}
    for path, data in kept.items():
        hub.upload_file(path_or_fileobj=data, path_in_repo=path, repo_id="ns/r")
    hub.delete_file("b", "ns/r")
    hub.create_tag("ns/r", tag="v1", revision=hub.list_repo_commits("ns/r")[1].commit_id)
    hub.create_branch("ns/r", branch="cust-1")
    hub.upload_file(path_or_fileobj=os.urandom(50_000), path_in_repo="adapter", repo_id="ns/r", revision="cust-1")
    hub.delete_branch("ns/r", branch="cust-1")
    young, lone = b"uploaded by LFS, not committed yet", b"uploaded by LFS, never committed"
    for data in (young, lone):
        oid = hashlib.sha256(data).hexdigest()
        httpx.put(f"{running.url}/ns/r.git/info/lfs/objects/{oid}", content=data).raise_for_status()
    running.stop()
    blobs = tmp_path / "repos/models/ns/r/blobs"
    long_ago = time.time() - 3 * 24 * 3600
    young_blob = blobs / hashlib.sha256(young).hexdigest()[:2] / hashlib.sha256(young).hexdigest()[2:]
    for path in files_in(tmp_path / "repos"):
        if path != young_blob:
            os.utime(path, (long_ago, long_ago))
    again = start_service("data_store", data_dir=tmp_path)
    assert {path.read_bytes() for path in files_in(blobs)} == {*kept.values(), young}
    check_whole(tmp_path, "ns/r")
    assert api(again).list_repo_files("ns/r", revision="v1") == ["a", "b"]


def test_sweep_spares_what_has_just_been_deleted(start_service, tmp_path: Path) -> None:
    running = start_service("data_store", data_dir=tmp_path)
    hub = api(running)
    hub.create_repo("ns/r")
    hub.create_branch("ns/r", branch="cust-1")
    sha = hub.upload_file(path_or_fileobj=b"adapter", path_in_repo="x", repo_id="ns/r", revision="cust-1").oid
    hub.delete_branch("ns/r", branch="cust-1")
    running.stop()
    folder = tmp_path / "repos/models/ns/r"
    long_ago = time.time() - 3 * 24 * 3600
    for path in files_in(folder / "blobs") + files_in(folder / "trees"):  # older than the commit, if stored before
        os.utime(path, (long_ago, long_ago))
    again = start_service("data_store", data_dir=tmp_path)
    assert httpx.get(f"{again.url}/ns/r/resolve/{sha}/x").content == b"adapter"


def test_two_data_stores_do_not_share_a_folder(start_service, start_process, tmp_path: Path) -> None:
    start_service("data_store", data_dir=tmp_path)
    with pytest.raises(OSError, match="in use by another Data Store"):
        Storage(tmp_path).open()


def test_no_work_before_the_start(tmp_path: Path) -> None:
    create_app(Settings(port=1, data_dir=tmp_path / "data"))
    assert not (tmp_path / "data").exists()


def test_a_repository_deleted_under_a_reader(start_service) -> None:
    running = start_service("data_store")
    hub = api(running)
    hub.create_repo("ns/r")
    sha = hub.upload_file(path_or_fileobj=b"1", path_in_repo="x", repo_id="ns/r").oid
    hub.delete_repo("ns/r")
    hub.create_repo("ns/r")
    assert httpx.get(f"{running.url}/ns/r/resolve/{sha}/x").headers["x-error-code"] == "RevisionNotFound"


def test_damage_is_told_not_served(start_service) -> None:
    running = start_service("data_store")
    hub = api(running)
    hub.create_repo("ns/r")
    hub.upload_file(path_or_fileobj=b"12345", path_in_repo="x", repo_id="ns/r")
    [blob] = files_in(running.data_dir / "repos/models/ns/r/blobs")
    blob.write_bytes(b"123")
    answer = httpx.get(f"{running.url}/ns/r/resolve/main/x")
    assert answer.status_code == 500
    assert "damaged" in answer.json()["error"]


def anonymous_kib(pid: int) -> int:
    """Memory that is the process's own; pages of files that the kernel may drop do not count."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["commit", "lfs"])
def test_large_files_do_not_need_memory(start_process, way: str) -> None:
    size, piece = 400_000_000, os.urandom(3_000_000)
    sha256, pieces = hashlib.sha256(), size // len(piece) + 1
    for _ in range(pieces):
        sha256.update(piece)
    running = start_process("data_store")
    api(running).create_repo("ns/r")
    before, peak, done = anonymous_kib(running.process.pid), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, anonymous_kib(running.process.pid))

    def commit() -> Iterator[bytes]:
        yield b'{"key": "header", "value": {"summary": "large"}}\n'
        yield b'{"key": "file", "value": {"path": "big", "encoding": "base64", "content": "'
        for _ in range(pieces):
            yield base64.b64encode(piece)
        yield b'"}}\n'

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        if way == "commit":
            url = f"{running.url}/api/models/ns/r/commit/main"
            httpx.post(url, content=commit(), timeout=120).raise_for_status()
        else:
            oid, base = sha256.hexdigest(), f"{running.url}/ns/r.git/info/lfs/objects"
            httpx.put(f"{base}/{oid}", content=(piece for _ in range(pieces)), timeout=120).raise_for_status()
            lines = [
                {"key": "header", "value": {"summary": "m"}},
                {"key": "lfsFile", "value": {"path": "big", "algo": "sha256", "oid": oid}},
            ]
            body = "\n".join(map(json.dumps, lines))
            httpx.post(f"{running.url}/api/models/ns/r/commit/main", content=body, timeout=60).raise_for_status()
        got = hashlib.sha256()
        with httpx.stream("GET", f"{running.url}/ns/r/resolve/main/big", timeout=60) as answer:
            for chunk in answer.iter_bytes():
                got.update(chunk)
    finally:
        done.set()
        watcher.join()
    assert got.hexdigest() == sha256.hexdigest()
    assert peak - before < 100_000, f"{(peak - before) // 1000} MB for a file of {size // 1_000_000} MB"


def test_an_interrupted_download_goes_on(start_service, tmp_path: Path) -> None:
    running = start_service("data_store")
    hub = api(running)
    hub.create_repo("ns/r")
    data = os.urandom(500_000)
    hub.upload_file(path_or_fileobj=data, path_in_repo="x", repo_id="ns/r")
    url = f"{running.url}/ns/r/resolve/main/x"
    with httpx.stream("GET", url) as answer:
        first = next(answer.iter_bytes(100_000))
        etag = answer.headers["etag"]
    rest = httpx.get(url, headers={"range": f"bytes={len(first)}-", "if-range": etag})
    assert first + rest.content == data


def test_storage_refuses_names_that_leave_the_folder(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "data")
    storage.open()
    try:
        for bad in ("..", ".", "a/b", "", "\x00"):
            for repo_id in (RepoId("models", bad, "x"), RepoId("models", "x", bad)):
                with pytest.raises(RepoNotFound, match="does not exist"):
                    storage.repository(repo_id)
            with pytest.raises(EntryNotFound, match="does not exist"):
                storage.namespace(bad)
    finally:
        storage.close()


def test_hub_errors_reach_the_client_in_words(start_service) -> None:
    hub = api(start_service("data_store"))
    with pytest.raises(HfHubHTTPError, match="model repository ns/none does not exist"):
        hub.upload_file(path_or_fileobj=b"1", path_in_repo="x", repo_id="ns/none")
