"""Frees what no branch or tag leads to: files of refused or interrupted commits, history of deleted branches.

Runs before the service answers, when nobody writes. Spares what is younger than `before`, which a client may still be
about to commit (LFS uploads come first). Commits go first and contents last, so that a crash leaves no commit without.
"""

from collections.abc import Iterable
from pathlib import Path

from embedded.data_store.repository import Repository


def _remove(paths: Iterable[Path], keep: set[str], before: float) -> int:
    freed = 0
    for path in paths:
        about = path.stat()
        if path.name.removesuffix(".json") not in keep and about.st_mtime < before:
            path.unlink()
            freed += about.st_size
    return freed


def sweep(repo: Repository, before: float) -> int:
    """Remove from `repo` what nothing refers to and is older than `before` (Unix time, s). Returns the bytes freed."""
    heads = {*repo.refs("heads").values(), *repo.refs("tags").values()}
    young = {path.stem for path in (repo.folder / "commits").iterdir() if path.stat().st_mtime >= before}
    commits = {commit.id: commit for head in heads | young for commit in repo.history(repo.commit(head))}
    trees = {commit.tree for commit in commits.values()}
    blobs = {file.sha256[2:] for commit in commits.values() for file in repo.tree(commit).values()}
    return sum(
        _remove(sorted((repo.folder / kind).glob(pattern)), keep, before)
        for kind, pattern, keep in (("commits", "*", set(commits)), ("trees", "*", trees), ("blobs", "*/*", blobs))
    )
