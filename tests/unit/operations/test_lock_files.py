"""The check of the lock files, with a compiler that writes what the test says."""

import pytest

from operations.toolchain import lock_files


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """A clone whose lock files hold `locked`; returns the outputs that were compiled."""
    outputs = []

    def compile_lock(sources, output):
        outputs.append(output)
        output.write_text((tmp_path / "wanted").read_text())

    for name in (*lock_files.SOURCES, "pyproject.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("locked")
    (tmp_path / "wanted").write_text("locked")
    monkeypatch.setattr(lock_files, "ROOT", tmp_path)
    monkeypatch.setattr(lock_files, "CHECKED", tmp_path / "checked")
    monkeypatch.setattr(lock_files, "compile_lock", compile_lock)
    return outputs


def test_what_was_checked_is_not_compiled_again_until_a_file_changes(compiled, tmp_path):
    assert lock_files.main(["--check"]) == 0
    assert len(compiled) == len(lock_files.SOURCES)
    assert lock_files.main(["--check"]) == 0
    assert len(compiled) == len(lock_files.SOURCES)
    for name in ("pyproject.toml", "embedded/requirements.txt"):
        compiled.clear()
        (tmp_path / name).write_text((tmp_path / name).read_text() + "\n")
        lock_files.main(["--check"])
        assert len(compiled) == len(lock_files.SOURCES), name


def test_a_drifted_lock_is_refused_each_time(compiled, tmp_path, capsys):
    (tmp_path / "wanted").write_text("a newer version")
    for _ in range(2):
        assert lock_files.main(["--check"]) == 1
        assert "requirements.txt has drifted from pyproject.toml: run make lock" in capsys.readouterr().err
