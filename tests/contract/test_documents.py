"""The document store: order, atomic changes, what survives a kill, and files that an earlier version wrote."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from embedded.common.documents import Documents
from nemostack.clone import ROOT
from tests.contract.conftest import Running


@pytest.fixture
def documents(tmp_path: Path):
    store = Documents(tmp_path / "folder" / "x.sqlite")
    store.open()
    yield store
    store.close()


def test_documents_come_back_in_order_by_kind_and_prefix(documents: Documents) -> None:
    for number, key in enumerate(("b/1", "a/2", "a_/3", "a/4")):
        assert documents.insert("model", key, {"n": number, "text": "é\u2028한"})
    assert not documents.insert("model", "a/2", {"n": 9})
    assert documents.insert("job", "a/2", {"n": 7})
    assert [document["n"] for document in documents.all("model")] == [0, 1, 2, 3]
    assert [document["n"] for document in documents.all("model", "a/")] == [1, 3]
    assert documents.get("model", "a/2") == {"n": 1, "text": "é\u2028한"}
    assert documents.delete("model", "a/2") == {"n": 1, "text": "é\u2028한"}
    assert documents.delete("model", "a/2") is None
    assert documents.get("job", "a/2") == {"n": 7}


def test_a_change_that_fails_changes_nothing(documents: Documents) -> None:
    documents.insert("k", "x", {"n": 1})
    with pytest.raises(ZeroDivisionError):
        documents.change("k", "x", lambda document: {"n": 1 // 0})
    assert documents.get("k", "x") == {"n": 1}
    assert documents.change("k", "y", lambda document: document) is None


def test_changes_of_many_threads_are_all_there(documents: Documents) -> None:
    documents.insert("k", "x", {"n": 0})

    def add() -> None:
        for _ in range(50):
            documents.change("k", "x", lambda document: {"n": document["n"] + 1})

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert documents.get("k", "x") == {"n": 400}


def test_the_file_is_its_owners_and_forgets(documents: Documents, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "x.sqlite"
    assert path.stat().st_mode & 0o077 == 0
    documents.insert("k", "x", {"key": "sk-secret" * 300})
    documents.change("k", "x", lambda _document: {"key": None})
    documents.scrub()
    assert all(b"sk-secret" not in file.read_bytes() for file in path.parent.iterdir())
    mode, full = (
        sqlite3.connect(path).execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "user_version")
    )
    assert (mode, full) == ("wal", 0)
    assert documents._open.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"


WRITER = """
import sys
from pathlib import Path
from embedded.common.documents import Documents

store = Documents(Path(sys.argv[1]))
store.open()
number = len(store.all("row"))
while True:
    store.insert("row", str(number), {"n": number})
    store.change("sum", "all", lambda d: {"n": d["n"] + 1}) or store.insert("sum", "all", {"n": 1})
    print(number, flush=True)
    number += 1
"""


def test_what_was_written_before_a_kill_is_there(tmp_path: Path) -> None:
    path, told = tmp_path / "x.sqlite", -1
    for kills in (1, 2, 3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for line in writer.stdout:
            told = int(line)
            if told % 40 == 39:
                break
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        store = Documents(path)
        store.open()
        numbers = [row["n"] for row in store.all("row")]
        total = store.get("sum", "all")
        store.close()
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > told
        assert total is not None
        assert len(numbers) - kills <= total["n"] <= len(numbers), "each kill may fall between the two writes"


# What version 0.1.0 wrote, by its own statements.
EVALUATOR = """
CREATE TABLE documents (kind VARCHAR NOT NULL, id VARCHAR NOT NULL, namespace VARCHAR NOT NULL, name VARCHAR NOT NULL,
 body JSON NOT NULL, PRIMARY KEY (kind, id), UNIQUE (kind, namespace, name))
"""
ENTITIES = """
CREATE TABLE entities (kind VARCHAR NOT NULL, namespace VARCHAR NOT NULL, name VARCHAR NOT NULL, id VARCHAR NOT NULL,
 created_at VARCHAR NOT NULL, updated_at VARCHAR NOT NULL, body JSON NOT NULL, PRIMARY KEY (kind, namespace, name))
"""
CUSTOMIZER = """
CREATE TABLE documents (sequence INTEGER NOT NULL, kind VARCHAR NOT NULL, key VARCHAR NOT NULL, document JSON NOT NULL,
 PRIMARY KEY (sequence))
"""


def _write(path: Path, table: str, rows: list[tuple[Any, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(path) as connection:
        connection.execute(table)
        name = table.split()[2]
        for row in rows:
            marks = ", ".join("?" for _ in row)
            connection.execute(f"INSERT INTO {name} VALUES ({marks})", row)
    connection.close()


def test_entities_of_the_version_before_are_there(start_service: Callable[..., Running], tmp_path: Path) -> None:
    times = ("2026-01-01T00:00:00.000000", "2026-01-02T00:00:00.000000")
    body = json.dumps({"files_url": "hf://datasets/a/b", "custom_fields": {"k": "ü"}})
    rows = [
        ("namespace", "", "a", "a", *times, json.dumps({"custom_fields": {}})),
        ("dataset", "a", "b", "dataset-1", *times, body),
    ]
    _write(tmp_path / "entities.sqlite", ENTITIES, rows)
    for _ in range(2):  # a second start finds nothing to bring over
        service = start_service("entity_store", data_dir=tmp_path)
        dataset = httpx.get(f"{service.url}/v1/datasets/a/b").json()
        assert (dataset["id"], dataset["created_at"], dataset["custom_fields"]) == ("dataset-1", times[0], {"k": "ü"})
        assert [one["id"] for one in httpx.get(f"{service.url}/v1/namespaces").json()["data"]] == ["a"]
        service.stop()


def test_evaluations_of_the_version_before_are_there(start_service: Callable[..., Running], tmp_path: Path) -> None:
    common = {"namespace": "default", "created_at": "2026-01-01T00:00:00.000000", "updated_at": "x"}
    target = common | {"id": "eval-target-1", "name": "t", "type": "model", "model": "m"}
    details = {"message": "completed", "task_status": {}, "progress": 100.0, "samples_processed": 1}
    job = common | {
        "id": "eval-1",
        "status": "completed",
        "status_details": details,
        "result_id": "evaluation_result-1",
    }
    job |= {"config": {"type": "custom"}, "target": target}
    result = common | {"id": "evaluation_result-1", "job": "eval-1", "tasks": {}, "groups": {}}
    rows = [
        (kind, body["id"], "default", body.get("name") or body["id"], json.dumps(body))
        for kind, body in (("target", target), ("job", job), ("result", result))
    ]
    _write(tmp_path / "evaluator.db", EVALUATOR, rows)
    urls = {f"{name}_url": "http://127.0.0.1:9" for name in ("data_store", "entity_store", "nim", "judge")}
    for _ in range(2):
        service = start_service("evaluator", data_dir=tmp_path, judge_model="m", **urls)
        assert httpx.get(f"{service.url}/v1/evaluation/targets/default/t").json()["id"] == "eval-target-1"
        assert httpx.get(f"{service.url}/v1/evaluation/jobs/eval-1").json()["status"] == "completed"
        assert httpx.get(f"{service.url}/v1/evaluation/jobs/eval-1/results").json()["id"] == "evaluation_result-1"
        service.stop()


def test_customizations_of_the_version_before_are_there(start_service: Callable[..., Running], tmp_path: Path) -> None:
    target = {"name": "mine", "namespace": "default", "id": "customization-target-1", "built_in": False}
    target |= {"base_model": "a/b", "model_path": None, "enabled": True, "created_at": "x", "updated_at": "x"}
    _write(tmp_path / "customizer.sqlite", CUSTOMIZER, [(1, "target", "default/mine", json.dumps(target))])
    urls = {f"{name}_url": "http://127.0.0.1:9" for name in ("data_store", "entity_store")}
    for _ in range(2):
        service = start_service("customizer", data_dir=tmp_path, base_models={"a/b": "c"}, keep_warm=False, **urls)
        found = httpx.get(f"{service.url}/v1/customization/targets/default/mine").json()
        assert (found["id"], found["base_model"]) == ("customization-target-1", "a/b")
        service.stop()
