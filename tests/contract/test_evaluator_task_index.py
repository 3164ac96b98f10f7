"""The index of lm-eval's tasks that is kept: it says what lm-eval's own does, and the files are read once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager, _index

from embedded.evaluator.task_index import task_manager

TASK = """
task: {name}
tag: [law, short]
dataset_path: json
output_type: generate_until
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
"""
GROUP = "group: both\ntask: [first, second]\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nemostack" / "lm-eval"


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name in ("first", "second"):
        (folder / f"{name}.yaml").write_text(TASK.format(name=name))
    (folder / "both.yaml").write_text(GROUP)
    return {"include_path": str(folder), "include_defaults": False}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Note the files of tasks that are read."""
    files: list[Path] = []
    original: Callable[..., Any] = _index.load_yaml

    def load_yaml(path: Path, **more: Any) -> Any:
        files.append(path)
        return original(path, **more)

    monkeypatch.setattr(_index, "load_yaml", load_yaml)
    return files


def told(manager: Any) -> Any:
    entries = {name: (one.kind, one.yaml_path, one.tags) for name, one in manager.task_index.items()}
    return entries, manager.all_tasks, manager.all_groups, manager.all_tags, manager.all_subtasks


def test_the_second_time_no_file_is_read_and_the_same_is_known(options: dict[str, Any], read: list[Path]) -> None:
    own = told(TaskManager(**options))
    read.clear()
    assert told(task_manager(**options)) == own
    assert len(read) == 3
    assert told(task_manager(**options)) == own
    assert len(read) == 3
    assert own[1] == ["both", "first", "law", "second", "short"]


def test_other_folders_have_an_index_of_their_own(options: dict[str, Any], tmp_path: Path) -> None:
    task_manager(**options)
    other = tmp_path / "other"
    other.mkdir()
    (other / "third.yaml").write_text(TASK.format(name="third"))
    assert task_manager(include_path=str(other), include_defaults=False).all_subtasks == ["third"]


@pytest.mark.parametrize("damage", [b"", b"no gzip", b"\x1f\x8b\x08\x00cut"])
def test_a_damaged_index_is_made_anew(options: dict[str, Any], cache: Path, read: list[Path], damage: bytes) -> None:
    own = told(task_manager(**options))
    (file,) = cache.iterdir()
    file.write_bytes(damage)
    assert told(task_manager(**options)) == own
    read.clear()
    assert told(task_manager(**options)) == own
    assert not read


def test_where_nothing_can_be_kept_it_works_all_the_same(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert task_manager(**options).all_groups == ["both"]
