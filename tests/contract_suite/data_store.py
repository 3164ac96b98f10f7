"""The Data Store: dataset repositories through the official Hugging Face client, and namespaces.

Fixtures: `hub` on the service at `data_store_url`, and `unique`, a name that no other test uses.
"""

import base64
import json
from pathlib import Path

import httpx
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError

DATASET = "dataset"
DATA = b'{"prompt": "\xc3\xbc", "completion": "b"}\n' * 1000


class DataStoreContract:
    """What clients may rely on."""

    @pytest.fixture
    def repo(self, hub: HfApi, unique: str) -> str:
        """Make an empty dataset repository."""
        hub.create_repo(f"{unique}/r", repo_type=DATASET)
        return f"{unique}/r"

    def test_life_of_a_repository(self, hub: HfApi, unique: str, tmp_path: Path) -> None:
        repo = f"{unique}/legal"
        url = hub.create_repo(repo, repo_type=DATASET)
        assert (url.repo_id, url.repo_type) == (repo, DATASET)
        assert hub.list_repo_files(repo, repo_type=DATASET) == []
        (tmp_path / "a.jsonl").write_bytes(DATA)
        done = hub.upload_file(
            path_or_fileobj=tmp_path / "a.jsonl", path_in_repo="training/a.jsonl", repo_id=repo, repo_type=DATASET
        )
        assert hub.repo_info(repo, repo_type=DATASET).sha == done.oid
        hub.upload_file(path_or_fileobj=b"text\n", path_in_repo="b.txt", repo_id=repo, repo_type=DATASET)
        assert hub.list_repo_files(repo, repo_type=DATASET) == ["b.txt", "training/a.jsonl"]
        got = hub.hf_hub_download(repo, "training/a.jsonl", repo_type=DATASET, cache_dir=tmp_path / "cache")
        assert Path(got).read_bytes() == DATA
        assert hub.file_exists(repo, "b.txt", repo_type=DATASET)
        assert not hub.file_exists(repo, "c.txt", repo_type=DATASET)
        hub.delete_file("b.txt", repo, repo_type=DATASET)
        assert hub.list_repo_files(repo, repo_type=DATASET) == ["training/a.jsonl"]
        hub.delete_repo(repo, repo_type=DATASET)
        assert not hub.repo_exists(repo, repo_type=DATASET)

    def test_addresses_in_answers_are_relative(self, data_store_url: str, unique: str) -> None:
        root = f"{data_store_url}/v1/hf"
        asked = {"name": "r", "organization": unique, "type": DATASET}
        created = httpx.post(f"{root}/api/repos/create", json=asked)
        again = httpx.post(f"{root}/api/repos/create", json=asked)
        assert (created.status_code, created.json()["url"]) == (200, f"datasets/{unique}/r")
        assert (again.status_code, again.json()["url"]) == (409, f"datasets/{unique}/r")
        content = {"path": "a", "content": base64.b64encode(b"x").decode(), "encoding": "base64"}
        lines = [{"key": "header", "value": {"summary": "m"}}, {"key": "file", "value": content}]
        commit = httpx.post(
            f"{root}/api/datasets/{unique}/r/commit/main",
            content="\n".join(json.dumps(line) for line in lines),
            headers={"content-type": "application/x-ndjson"},
        ).json()
        assert commit["commitUrl"] == f"datasets/{unique}/r/commit/{commit['commitOid']}"

    def test_files_have_their_size_and_a_way_to_them(self, hub: HfApi, repo: str) -> None:
        hub.upload_file(path_or_fileobj=b"hello\n", path_in_repo="text", repo_id=repo, repo_type=DATASET)
        [entry] = hub.list_repo_tree(repo, repo_type=DATASET, recursive=True)
        assert (entry.path, getattr(entry, "size", None)) == ("text", 6)
        head = httpx.head(f"{hub.endpoint}/datasets/{repo}/resolve/main/text")
        assert head.headers["content-length"] == "6"
        assert head.headers["x-repo-commit"] == hub.repo_info(repo, repo_type=DATASET).sha
        # git's id of the file, by `echo hello | git hash-object --stdin`
        assert head.headers["etag"] == '"ce013625030ba8dba906f756967f9e9ca394464a"'
        assert getattr(entry, "blob_id", None) == "ce013625030ba8dba906f756967f9e9ca394464a"

    def test_a_folder_goes_up_and_a_snapshot_comes_down(self, hub: HfApi, repo: str, tmp_path: Path) -> None:
        files = {"training/a.jsonl": DATA, "validation/b.jsonl": b"{}\n", "a b/\u00fc @+#%.txt": b"odd"}
        for path, data in files.items():
            (tmp_path / "up" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "up" / path).write_bytes(data)
        hub.upload_folder(folder_path=tmp_path / "up", repo_id=repo, repo_type=DATASET)
        hub.snapshot_download(repo, repo_type=DATASET, local_dir=tmp_path / "down")
        assert {path: (tmp_path / "down" / path).read_bytes() for path in files} == files

    def test_operations_in_one_commit(self, hub: HfApi, repo: str) -> None:
        added = [CommitOperationAdd(f"d/{n}", str(n).encode()) for n in range(3)]
        hub.create_commit(repo, added, commit_message="add", repo_type=DATASET)
        hub.create_commit(
            repo,
            [CommitOperationDelete("d/0"), CommitOperationAdd("new", b"n")],
            commit_message="mixed",
            repo_type=DATASET,
        )
        assert hub.list_repo_files(repo, repo_type=DATASET) == ["d/1", "d/2", "new"]

    def test_create_twice(self, hub: HfApi, repo: str) -> None:
        with pytest.raises(HfHubHTTPError, match="exists already"):
            hub.create_repo(repo, repo_type=DATASET)
        assert hub.create_repo(repo, repo_type=DATASET, exist_ok=True).repo_id == repo

    def test_what_is_not_there(self, hub: HfApi, repo: str, unique: str, tmp_path: Path) -> None:
        with pytest.raises(RepositoryNotFoundError, match="does not exist"):
            hub.repo_info(f"{unique}/none", repo_type=DATASET)
        with pytest.raises(RepositoryNotFoundError):
            hub.delete_repo(f"{unique}/none", repo_type=DATASET)
        hub.delete_repo(f"{unique}/none", repo_type=DATASET, missing_ok=True)
        with pytest.raises(EntryNotFoundError):
            hub.hf_hub_download(repo, "none", repo_type=DATASET, cache_dir=tmp_path)
        with pytest.raises(EntryNotFoundError):
            hub.delete_file("none", repo, repo_type=DATASET)

    def test_a_namespace_is_made_once_and_deleted_once(self, data_store_url: str, unique: str) -> None:
        url = f"{data_store_url}/v1/datastore/namespaces"
        made = httpx.post(url, data={"namespace": unique})
        assert (made.status_code, made.json()["namespace"]) == (201, unique)
        assert httpx.post(url, data={"namespace": unique}).status_code == 409
        assert httpx.delete(f"{url}/{unique}").json()["namespace"] == unique
        assert httpx.delete(f"{url}/{unique}").status_code == 404
