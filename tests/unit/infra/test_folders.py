"""Files of a stack are readable by their owner alone, and its socket has a name that fits."""

import stat
from pathlib import Path

import pytest

from infra.local.folders import StackFolder
from nemostack.errors import LocalServiceError
from nemostack.files import write_atomically


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_private(tmp_path: Path) -> None:
    folder = StackFolder(tmp_path / ".nemostack" / "x")
    folder.create()
    write_atomically(folder.config / "nim.json", "{}", mode=0o600)
    assert {mode(path) for path in (folder.path, folder.path.parent, folder.config, folder.logs, folder.data)} == {
        0o700
    }
    assert mode(folder.config / "nim.json") == 0o600


def test_long_paths_get_a_short_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    deep = StackFolder(tmp_path / ("d" * 120) / "x")
    assert len(str(deep.socket)) < 90
    assert deep.socket != StackFolder(tmp_path / ("d" * 120) / "y").socket
    assert StackFolder(Path("/srv/clone/.nemostack/x")).socket == Path("/srv/clone/.nemostack/x/supervisor/s.sock")


def test_what_supervisord_cannot_quote_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalServiceError, match="not supported; move the clone"):
        StackFolder(tmp_path / "a ;b").create()


def test_destroyed_stacks_keep_logs_and_data(tmp_path: Path) -> None:
    folder = StackFolder(tmp_path / "x")
    folder.create()
    folder.remove_runtime()
    assert sorted(path.name for path in folder.path.iterdir()) == ["data", "logs"]
