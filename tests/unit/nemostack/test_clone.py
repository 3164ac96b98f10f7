"""Which commit a run names: the clone's own, and never that of a repository around an installed package."""

import subprocess
from pathlib import Path

import pytest

from nemostack.clone import describe_commit


def git(folder: Path, *command: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    done = subprocess.run(["git", *identity, *command], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "file").write_text("first")
    git(folder, "add", "file")
    git(folder, "commit", "--quiet", "-m", "first")
    git(folder, "tag", "v1.0.0")  # a tag has no say: its name would hide the commit
    return folder


def describe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str | None:
    monkeypatch.setattr("nemostack.clone.ROOT", folder)
    return describe_commit()


def test_commit_of_a_clone_and_of_one_with_changes(repository, monkeypatch):
    commit = git(repository, "rev-parse", "HEAD")
    assert describe(repository, monkeypatch) == commit
    (repository / "file").write_text("second")
    assert describe(repository, monkeypatch) == f"{commit}-dirty"


def test_a_worktree_has_its_own_commit(repository, monkeypatch, tmp_path):
    git(repository, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "other"))
    git(tmp_path / "other", "commit", "--quiet", "--allow-empty", "-m", "second")
    assert describe(tmp_path / "other", monkeypatch) == git(tmp_path / "other", "rev-parse", "HEAD")


def test_a_repository_around_an_installed_package_is_not_described(repository, monkeypatch):
    packages = repository / ".venv" / "lib" / "site-packages"
    packages.mkdir(parents=True)
    assert describe(packages, monkeypatch) is None


def test_a_hook_of_another_repository_does_not_mislead(repository, monkeypatch, tmp_path):
    """Git gives GIT_DIR to its hooks, from which a run may be started."""
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    assert describe(tmp_path, monkeypatch) is None


def test_without_git_there_is_no_commit(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert describe(repository, monkeypatch) is None


def test_an_empty_repository_has_no_commit(tmp_path, monkeypatch):
    git(tmp_path, "init", "--quiet")
    assert describe(tmp_path, monkeypatch) is None
