"""Data Store through the official Hugging Face client; expected ids and hashes come from git and hashlib."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

TYPES = ["model", "dataset"]


def git_blob_id(data: bytes) -> str:
    done = subprocess.run(["git", "hash-object", "--stdin"], input=data, capture_output=True, check=True)
    return done.stdout.decode().strip()


def commit_lines(*operations: tuple[str, dict], message: str = "m") -> bytes:
    lines = [{"key": "header", "value": {"summary": message}}]
    lines += [{"key": key, "value": value} for key, value in operations]
    return b"\n".join(json.dumps(line).encode() for line in lines)


def added(path: str, data: bytes = b"x") -> tuple[str, dict]:
    return "file", {"path": path, "content": base64.b64encode(data).decode(), "encoding": "base64"}


def post_commit(url: str, body: bytes) -> httpx.Response:
    return httpx.post(url, content=body, headers={"content-type": "application/x-ndjson"}, timeout=30)


@pytest.fixture(params=TYPES)
def repo_type(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def repo(hub: HfApi, unique: str) -> str:
    """An empty model repository."""
    hub.create_repo(f"{unique}/r", repo_type="model")
    return f"{unique}/r"


@pytest.fixture
def commit_url(hub: HfApi, repo: str) -> str:
    return f"{hub.endpoint}/api/models/{repo}/commit/main"


def test_life_of_a_repository(hub: HfApi, unique: str, repo_type: str, tmp_path: Path) -> None:
    repo = f"{unique}/legal"
    url = hub.create_repo(repo, repo_type=repo_type)
    assert (url.repo_id, url.repo_type) == (repo, repo_type)
    assert hub.list_repo_files(repo, repo_type=repo_type) == []
    data = os.urandom(100_000)
    (tmp_path / "a.bin").write_bytes(data)
    done = hub.upload_file(
        path_or_fileobj=tmp_path / "a.bin", path_in_repo="training/a.bin", repo_id=repo, repo_type=repo_type
    )
    assert hub.repo_info(repo, repo_type=repo_type).sha == done.oid
    hub.upload_file(path_or_fileobj=b"text\n", path_in_repo="b.txt", repo_id=repo, repo_type=repo_type)
    assert hub.list_repo_files(repo, repo_type=repo_type) == ["b.txt", "training/a.bin"]
    got = hub.hf_hub_download(repo, "training/a.bin", repo_type=repo_type, cache_dir=tmp_path / "cache")
    assert Path(got).read_bytes() == data
    assert hub.file_exists(repo, "b.txt", repo_type=repo_type)
    assert not hub.file_exists(repo, "c.txt", repo_type=repo_type)
    hub.delete_file("b.txt", repo, repo_type=repo_type)
    assert hub.list_repo_files(repo, repo_type=repo_type) == ["training/a.bin"]
    assert hub.file_exists(
        repo, "b.txt", repo_type=repo_type, revision=hub.list_repo_commits(repo, repo_type=repo_type)[1].commit_id
    )
    hub.delete_repo(repo, repo_type=repo_type)
    assert not hub.repo_exists(repo, repo_type=repo_type)


def test_the_hub_is_at_the_root_too(data_store_url: str, unique: str, tmp_path: Path) -> None:
    hub = HfApi(endpoint=data_store_url, token="mock")
    hub.create_repo(f"{unique}/d", repo_type="dataset")
    hub.upload_file(path_or_fileobj=b"1", path_in_repo="x", repo_id=f"{unique}/d", repo_type="dataset")
    got = hub.hf_hub_download(f"{unique}/d", "x", repo_type="dataset", cache_dir=tmp_path)
    assert Path(got).read_bytes() == b"1"
    assert hub.whoami()["name"] == "default"


@pytest.mark.parametrize("root", ["/v1/hf", ""])
@pytest.mark.parametrize(("kind", "path"), [("dataset", "datasets/"), ("model", "")])
def test_addresses_in_answers_are_relative(data_store_url: str, unique: str, root: str, kind: str, path: str) -> None:
    """As NVIDIA's Data Store answers them; test_hub_versions.py tries the clients that cannot read others."""
    asked = {"name": "r", "organization": unique, "type": kind}
    created = httpx.post(f"{data_store_url}{root}/api/repos/create", json=asked)
    again = httpx.post(f"{data_store_url}{root}/api/repos/create", json=asked)
    assert (created.status_code, created.json()["url"]) == (200, f"{path}{unique}/r")
    assert (again.status_code, again.json()["url"]) == (409, f"{path}{unique}/r")
    commit = post_commit(f"{data_store_url}{root}/api/{kind}s/{unique}/r/commit/main", commit_lines(added("a"))).json()
    assert commit["commitUrl"] == f"{path}{unique}/r/commit/{commit['commitOid']}"


def test_folder_up_and_snapshot_down(hub: HfApi, repo: str, tmp_path: Path) -> None:
    files = {f"training/part-{n}.jsonl": f'{{"n": {n}}}\n'.encode() * n for n in range(40)}
    files |= {
        "README.md": b"---\nlicense: apache-2.0\n---\n# Card\n",
        "a b/\u00fc @+#%.txt": b"odd",
        "big.bin": os.urandom(2_000_000),
    }
    for path, data in files.items():
        (tmp_path / "up" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / path).write_bytes(data)
    hub.upload_folder(folder_path=tmp_path / "up", repo_id=repo)
    assert set(hub.list_repo_files(repo)) == set(files)
    hub.snapshot_download(repo, local_dir=tmp_path / "down")
    assert {path: (tmp_path / "down" / path).read_bytes() for path in files} == files


def test_ids_are_those_of_git(hub: HfApi, repo: str) -> None:
    for path, data in (("empty", b""), ("text", b"hello\n"), ("binary", os.urandom(70_000))):
        hub.upload_file(path_or_fileobj=data, path_in_repo=path, repo_id=repo)
        [info] = hub.get_paths_info(repo, [path])
        assert (info.blob_id, info.size) == (git_blob_id(data), len(data))
        head = httpx.head(f"{hub.endpoint}/{repo}/resolve/main/{path}")
        assert head.headers["etag"] == f'"{git_blob_id(data)}"'
        assert head.headers["content-length"] == str(len(data))
        assert head.headers["x-repo-commit"] == hub.repo_info(repo).sha


def test_unchanged_files_are_not_sent_again(hub: HfApi, repo: str) -> None:
    first = hub.upload_file(path_or_fileobj=b"same", path_in_repo="x", repo_id=repo)
    again = hub.upload_file(path_or_fileobj=b"same", path_in_repo="x", repo_id=repo)
    assert again.oid == first.oid
    assert len(hub.list_repo_commits(repo)) == 2


def test_info_with_files_metadata(hub: HfApi, repo: str) -> None:
    hub.upload_file(path_or_fileobj=b"12345", path_in_repo="x", repo_id=repo)
    info = hub.model_info(repo, files_metadata=True)
    assert [(s.rfilename, s.size, s.blob_id) for s in info.siblings] == [("x", 5, git_blob_id(b"12345"))]
    assert info.last_modified >= info.created_at


def test_tree_and_paths(hub: HfApi, repo: str) -> None:
    hub.create_commit(
        repo,
        [CommitOperationAdd(path, data) for path, data in {"a/b/c": b"1", "a/d": b"2", "e": b"3"}.items()],
        commit_message="three",
    )
    hub.upload_file(path_or_fileobj=b"4", path_in_repo="a/d", repo_id=repo, commit_message="change d")
    assert [i.path for i in hub.list_repo_tree(repo)] == ["a", "e"]
    assert [i.path for i in hub.list_repo_tree(repo, "a")] == ["a/b", "a/d"]
    assert [i.path for i in hub.list_repo_tree(repo, recursive=True)] == ["a", "a/b", "a/b/c", "a/d", "e"]
    titles = {i.path: i.last_commit.title for i in hub.list_repo_tree(repo, recursive=True, expand=True)}
    assert titles == {"a": "change d", "a/b": "three", "a/b/c": "three", "a/d": "change d", "e": "three"}
    assert [i.path for i in hub.get_paths_info(repo, ["e", "a/b", "nothing"])] == ["e", "a/b"]
    assert hub.get_paths_info(repo, ["e"], expand=True)[0].last_commit.title == "three"
    with pytest.raises(EntryNotFoundError):
        list(hub.list_repo_tree(repo, "nothing"))


def test_branches(hub: HfApi, repo: str, tmp_path: Path) -> None:
    hub.upload_file(path_or_fileobj=b"1", path_in_repo="x", repo_id=repo)
    hub.create_branch(repo, branch="cust-8Yb2")
    hub.create_branch(repo, branch="cust-8Yb2", exist_ok=True)
    with pytest.raises(HfHubHTTPError, match="already"):
        hub.create_branch(repo, branch="cust-8Yb2")
    hub.upload_file(path_or_fileobj=b"2", path_in_repo="x", repo_id=repo, revision="cust-8Yb2")
    read = {
        rev: Path(hub.hf_hub_download(repo, "x", revision=rev, cache_dir=tmp_path)).read_bytes()
        for rev in ("main", "cust-8Yb2")
    }
    assert read == {"main": b"1", "cust-8Yb2": b"2"}
    start = hub.list_repo_commits(repo)[-1].commit_id
    hub.create_branch(repo, branch="empty", revision=start)
    assert hub.list_repo_files(repo, revision="empty") == []
    assert {b.name for b in hub.list_repo_refs(repo).branches} == {"main", "cust-8Yb2", "empty"}
    hub.delete_branch(repo, branch="cust-8Yb2")
    with pytest.raises(RevisionNotFoundError):
        hub.list_repo_files(repo, revision="cust-8Yb2")
    with pytest.raises(RevisionNotFoundError):
        hub.delete_branch(repo, branch="cust-8Yb2")
    with pytest.raises(BadRequestError, match="main"):
        hub.delete_branch(repo, branch="main")
    with pytest.raises(BadRequestError, match="no slash"):
        hub.create_branch(repo, branch="0" * 40)


def test_tags_and_commits(hub: HfApi, repo: str) -> None:
    first = hub.upload_file(path_or_fileobj=b"1", path_in_repo="x", repo_id=repo, commit_message="one")
    hub.create_tag(repo, tag="v1")
    second = hub.upload_file(
        path_or_fileobj=b"2", path_in_repo="x", repo_id=repo, commit_message="two", commit_description="more"
    )
    hub.create_tag(repo, tag="v2", revision=second.oid)
    assert {t.name: t.target_commit for t in hub.list_repo_refs(repo).tags} == {"v1": first.oid, "v2": second.oid}
    assert [(c.title, c.message) for c in hub.list_repo_commits(repo)] == [
        ("two", "more"),
        ("one", ""),
        ("initial commit", ""),
    ]
    assert hub.repo_info(repo, revision="v1").sha == first.oid
    assert hub.repo_info(repo, revision=first.oid[:8]).sha == first.oid
    hub.delete_tag(repo, tag="v1")
    with pytest.raises(RevisionNotFoundError):
        hub.repo_info(repo, revision="v1")


def test_operations_in_one_commit(hub: HfApi, repo: str) -> None:
    hub.create_commit(repo, [CommitOperationAdd(f"d/{n}", str(n).encode()) for n in range(3)], commit_message="add")
    hub.create_commit(
        repo,
        [CommitOperationDelete("d/0"), CommitOperationCopy("d/1", "copy"), CommitOperationAdd("new", b"n")],
        commit_message="mixed",
    )
    assert hub.list_repo_files(repo) == ["copy", "d/1", "d/2", "new"]
    hub.delete_folder("d", repo)
    assert hub.list_repo_files(repo) == ["copy", "new"]
    with pytest.raises(EntryNotFoundError):
        hub.delete_file("d/1", repo)
    with pytest.raises(EntryNotFoundError):
        hub.delete_folder("d", repo)


def test_a_commit_on_an_old_parent_is_refused(hub: HfApi, repo: str) -> None:
    old = hub.repo_info(repo).sha
    hub.upload_file(path_or_fileobj=b"1", path_in_repo="x", repo_id=repo, parent_commit=old)
    with pytest.raises(HfHubHTTPError, match="412"):
        hub.upload_file(path_or_fileobj=b"2", path_in_repo="x", repo_id=repo, parent_commit=old)


def test_create_twice(hub: HfApi, repo: str) -> None:
    with pytest.raises(HfHubHTTPError, match="exists already"):
        hub.create_repo(repo)
    assert hub.create_repo(repo, exist_ok=True).repo_id == repo


def test_what_is_not_there(hub: HfApi, repo: str, unique: str, tmp_path: Path) -> None:
    with pytest.raises(RepositoryNotFoundError, match="does not exist"):
        hub.repo_info(f"{unique}/none")
    with pytest.raises(RepositoryNotFoundError):
        hub.delete_repo(f"{unique}/none")
    hub.delete_repo(f"{unique}/none", missing_ok=True)
    with pytest.raises(RevisionNotFoundError, match="no revision 'v9'"):
        hub.repo_info(repo, revision="v9")
    with pytest.raises(RevisionNotFoundError):
        hub.upload_file(path_or_fileobj=b"1", path_in_repo="x", repo_id=repo, revision="nowhere")
    with pytest.raises(EntryNotFoundError):
        hub.hf_hub_download(repo, "none", cache_dir=tmp_path)
    with pytest.raises(BadRequestError, match="pull requests"):
        hub.upload_file(path_or_fileobj=b"1", path_in_repo="x", repo_id=repo, create_pr=True)


def test_bad_front_matter_is_refused_before_the_commit(hub: HfApi, repo: str) -> None:
    with pytest.raises(ValueError, match="Invalid metadata"):
        hub.upload_file(path_or_fileobj=b"---\na: [1\n---\n", path_in_repo="README.md", repo_id=repo)
    assert hub.list_repo_files(repo) == []


def test_find_repositories(hub: HfApi, unique: str) -> None:
    for name in ("one", "two"):
        hub.create_repo(f"{unique}/{name}")
    hub.create_repo(f"{unique}/data", repo_type="dataset")
    assert [m.id for m in hub.list_models(author=unique)] == [f"{unique}/one", f"{unique}/two"]
    assert [m.id for m in hub.list_models(author=unique, search="TW")] == [f"{unique}/two"]
    assert [d.id for d in hub.list_datasets(author=unique)] == [f"{unique}/data"]


def test_ranges(hub: HfApi, repo: str) -> None:
    data = os.urandom(10_000)
    hub.upload_file(path_or_fileobj=data, path_in_repo="x", repo_id=repo)
    url = f"{hub.endpoint}/{repo}/resolve/main/x"
    part = httpx.get(url, headers={"range": "bytes=4000-"})
    assert (part.status_code, part.content) == (206, data[4000:])
    assert part.headers["content-range"] == "bytes 4000-9999/10000"
    assert httpx.get(url, headers={"range": "bytes=10-19"}).content == data[10:20]
    assert httpx.get(url, headers={"range": "bytes=20000-"}).status_code == 416
    etag = httpx.head(url).headers["etag"]
    assert httpx.get(url, headers={"range": "bytes=1-2", "if-range": etag}).status_code == 206
    assert httpx.get(url, headers={"range": "bytes=1-2", "if-range": '"old"'}).status_code == 200


EVIL_PATHS = [
    "../x",
    "/etc/passwd",
    "a/../../x",
    "a//b",
    "./a",
    "a/.",
    "a/",
    "",
    "a\\..\\b",
    "a\x00b",
    "a\nb",
    ".git/config",
    "a/.git/hooks/x",
    "x" * 300,
    "/".join(["abc"] * 300),
    "\ud800",
]


@pytest.mark.parametrize("path", EVIL_PATHS)
def test_evil_paths_are_refused(hub: HfApi, repo: str, commit_url: str, path: str) -> None:
    answer = post_commit(commit_url, commit_lines(added("fine"), added(path)))
    assert answer.status_code == 400
    assert "path" in answer.json()["error"]
    assert hub.list_repo_files(repo) == []
    asked = json.dumps({"files": [{"path": path, "size": 1, "sample": ""}]})
    assert httpx.post(commit_url.replace("/commit/", "/preupload/"), content=asked).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "api/models/%2e%2e/%2e%2e",
        "api/models/..%2f..%2f/x",
        "api/datasets/%2e/tmp",
        "%2e%2e/%2e%2e/resolve/main/x",
        "api/models/%00/x",
        "api/models/.hidden/x/refs",
    ],
)
def test_evil_repository_names_are_not_found(hub: HfApi, path: str) -> None:
    answer = httpx.get(f"{hub.endpoint}/{path}")
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b"no json", "line 1"),
        (b"[1]", "line 1"),
        (commit_lines(added("x"), message=""), "no message"),
        (commit_lines(("file", {"path": "x", "content": "!!!!"})), "base64"),
        (commit_lines(("file", {"path": "x", "content": "YWJ"})), "line 2"),
        (commit_lines(("file", {"path": "x", "content": "YQ==", "encoding": "utf-8"})), "base64"),
        (commit_lines(("file", {"path": "x"})), "base64"),
        (commit_lines(("explode", {"path": "x"})), "'explode'"),
        (commit_lines(("lfsFile", {"path": "x", "oid": "0" * 64, "size": 1})), "not been uploaded"),
        (commit_lines(("lfsFile", {"path": "x", "oid": "../../x", "size": 1})), "64 hex"),
        (commit_lines(added("a"), added("a/b")), "file and a folder"),
        (commit_lines(("header", {"summary": "x" * 2_000_000})), "too long"),
    ],
)
def test_bad_commits_are_refused_whole(hub: HfApi, repo: str, commit_url: str, body: bytes, says: str) -> None:
    before = hub.repo_info(repo).sha
    answer = post_commit(commit_url, body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]
    assert answer.headers["x-error-message"] == answer.json()["error"]
    assert hub.repo_info(repo).sha == before


@pytest.mark.parametrize("name", ["a.git", "..", "a/b", "", "x" * 300, ".hidden"])
def test_bad_repository_names_are_refused(hub: HfApi, unique: str, name: str) -> None:
    answer = httpx.post(f"{hub.endpoint}/api/repos/create", json={"name": name, "organization": unique})
    assert answer.status_code == 400


def test_too_large_is_413(start_service, unique: str) -> None:
    url = start_service("data_store", max_commit_bytes=10_000, max_file_bytes=1000).url
    hub = HfApi(endpoint=f"{url}/v1/hf", token=False)
    hub.create_repo(f"{unique}/r")
    with pytest.raises(HfHubHTTPError, match="413"):
        hub.upload_file(path_or_fileobj=b"x" * 20_000, path_in_repo="x", repo_id=f"{unique}/r")
    chunked = (b"x" * 500 for _ in range(40))  # announces no length
    assert httpx.post(f"{hub.endpoint}/api/models/{unique}/r/commit/main", content=chunked).status_code == 413
    lfs = f"{hub.endpoint}/{unique}/r.git/info/lfs/objects/{hashlib.sha256(b'y' * 2000).hexdigest()}"
    assert httpx.put(lfs, content=b"y" * 2000).status_code == 413
    assert hub.list_repo_files(f"{unique}/r") == []


def test_simultaneous_commits_all_count(hub: HfApi, repo: str) -> None:
    failed: list[Exception] = []

    def upload(number: int) -> None:
        try:
            hub.upload_file(path_or_fileobj=str(number).encode(), path_in_repo=f"f{number}", repo_id=repo)
        except HfHubHTTPError as error:
            failed.append(error)

    threads = [threading.Thread(target=upload, args=[number]) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sorted(hub.list_repo_files(repo)) == sorted(f"f{n}" for n in range(12))
    assert len(hub.list_repo_commits(repo)) == 13


LFS_CLIENT = """
import sys
from huggingface_hub import HfApi
endpoint, repo, path = sys.argv[1:]
hub = HfApi(endpoint=endpoint, token=False)
hub.upload_file(path_or_fileobj=path, path_in_repo="model.safetensors", repo_id=repo)
hub.upload_file(path_or_fileobj=path, path_in_repo="again.safetensors", repo_id=repo)
"""


def test_lfs_with_the_official_client(start_service, unique: str, tmp_path: Path) -> None:
    hub = HfApi(endpoint=f"{start_service('data_store', lfs_threshold_bytes=1000).url}/v1/hf", token=False)
    repo = f"{unique}/r"
    hub.create_repo(repo)
    data = os.urandom(3_000_000)
    (tmp_path / "f").write_bytes(data)
    # The client reads this switch when it is imported.
    env = {**os.environ, "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", LFS_CLIENT, hub.endpoint, repo, tmp_path / "f"]
    done = subprocess.run(command, env=env, timeout=60, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sha256 = hashlib.sha256(data).hexdigest()
    for info in hub.get_paths_info(repo, ["model.safetensors", "again.safetensors"]):
        assert (info.lfs.sha256, info.lfs.size, info.size) == (sha256, len(data), len(data))
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(data)}\n".encode()
        assert info.blob_id == git_blob_id(pointer)
        assert info.lfs.pointer_size == len(pointer)
    assert Path(hub.hf_hub_download(repo, "model.safetensors", cache_dir=tmp_path)).read_bytes() == data
    assert httpx.head(f"{hub.endpoint}/{repo}/resolve/main/model.safetensors").headers["etag"] == f'"{sha256}"'
    assert hub.model_info(repo, files_metadata=True).siblings[0].lfs.sha256 == sha256


def test_lfs_checks_what_comes(hub: HfApi, repo: str) -> None:
    base = f"{hub.endpoint}/{repo}.git/info/lfs/objects"
    sha256 = hashlib.sha256(b"good").hexdigest()
    batch = {"operation": "upload", "objects": [{"oid": sha256, "size": 4}]}
    [offered] = httpx.post(f"{base}/batch", json=batch).json()["objects"]
    bad = httpx.put(offered["actions"]["upload"]["href"], content=b"evil")
    assert bad.status_code == 400
    assert sha256 in bad.json()["error"]
    verify = offered["actions"]["verify"]["href"]
    assert httpx.post(verify, json={"oid": sha256, "size": 4}).status_code == 404
    assert httpx.put(offered["actions"]["upload"]["href"], content=b"good").status_code == 200
    assert httpx.post(verify, json={"oid": sha256, "size": 4}).status_code == 200
    assert httpx.post(verify, json={"oid": sha256, "size": 5}).status_code == 400
    assert "actions" not in httpx.post(f"{base}/batch", json=batch).json()["objects"][0]
    wanted = {"operation": "download", "objects": [{"oid": sha256, "size": 4}, {"oid": "0" * 64, "size": 1}]}
    there, missing = httpx.post(f"{base}/batch", json=wanted).json()["objects"]
    assert httpx.get(there["actions"]["download"]["href"]).content == b"good"
    assert missing["error"]["code"] == 404
    assert httpx.put(f"{base}/nothex", content=b"x").status_code == 400
    assert httpx.post(f"{base}/batch", json={"operation": "steal"}).status_code == 400


def test_namespaces(data_store_url: str, hub: HfApi, unique: str) -> None:
    url = f"{data_store_url}/v1/datastore/namespaces"
    made = httpx.post(url, data={"namespace": unique})
    assert made.status_code == 201
    assert made.json()["namespace"] == unique
    assert made.json()["created_at"].endswith("Z")
    assert httpx.get(f"{url}/{unique}").json() == made.json()
    again = httpx.post(url, json={"namespace": unique})
    assert again.status_code == 409
    assert again.headers["x-should-retry"] == "false"
    assert unique in [n["namespace"] for n in httpx.get(f"{url}/?page_size=1000").json()["data"]]
    hub.create_repo(f"{unique}/r")
    held = httpx.delete(f"{url}/{unique}")
    assert held.status_code == 409
    assert f"{unique}/r" in held.json()["detail"]
    hub.delete_repo(f"{unique}/r")
    assert httpx.delete(f"{url}/{unique}").status_code == 200
    assert httpx.get(f"{url}/{unique}").status_code == 404
    assert httpx.delete(f"{url}/{unique}").status_code == 404
    hub.create_repo(f"{unique}/r")
    assert httpx.get(f"{url}/{unique}").status_code == 200, "creating a repository makes its namespace"


BAD_NAMESPACES = [
    {"json": {}},
    {"json": {"namespace": "../x"}},
    {"data": {"namespace": "api"}},
    {"data": {}},
    {"json": {"namespace": 5}},
    {"json": []},
]


@pytest.mark.parametrize("body", BAD_NAMESPACES)
def test_bad_namespaces_are_refused(data_store_url: str, body: dict) -> None:
    assert httpx.post(f"{data_store_url}/v1/datastore/namespaces", **body).status_code == 400
