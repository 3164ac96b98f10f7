"""One repository on disk.

    repo.json            {"created_at", "private"}
    refs/heads/NAME      commit id; refs/tags/NAME likewise
    commits/ID.json      {"tree", "parent", "title", "message", "date"}; ID: sha1 of that
    trees/ID.json        {path: [sha256, size, git id, is LFS]} of all files; ID: sha1 of that
    blobs/ab/cdef...     contents by sha256
Everything but refs is written once and named by what it holds, and before the ref that leads to it: whoever dies half
way leaves files that nothing refers to, never a commit that misses some. Writers hold `lock`; readers need none.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from embedded.data_store import disk
from embedded.data_store.hub_errors import EntryNotFound, Exists, HeadMoved, Invalid, RepoNotFound, RevisionNotFound
from embedded.data_store.names import RepoId, ref_name
from nemostack.files import sync_folder, write_atomically

MAIN = "main"


class File(NamedTuple):
    """A file of a tree; `git_id` as git names the blob, or the pointer that LFS puts in its place."""

    sha256: str
    size: int
    git_id: str
    is_lfs: bool


Tree = dict[str, File]


class Commit(NamedTuple):
    """A state of all files. `date` is ISO 8601 with Z."""

    id: str
    tree: str
    parent: str | None
    title: str
    message: str
    date: str


def now_z() -> str:
    """Return the time as the hub writes it: `2026-01-05T09:00:00.123Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lfs_pointer(sha256: str, size: int) -> bytes:
    """Make the text that git keeps in place of an LFS file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


@lru_cache(maxsize=8)  # a snapshot asks for the same tree once a file; trees never change
def _read_tree(path: Path) -> Tree:
    return {name: File(*fields) for name, fields in json.loads(path.read_bytes()).items()}


class Repository:
    """A repository that exists in `folder`; RepoNotFound when it has gone meanwhile."""

    def __init__(self, repo_id: RepoId, folder: Path, temporary: Path, locks: dict[RepoId, threading.Lock]) -> None:
        self.id, self.folder, self._temporary = repo_id, folder, temporary
        try:
            self.about: dict[str, str] = json.loads((folder / "repo.json").read_bytes())
        except FileNotFoundError:
            raise self._gone() from None
        self._lock = locks[repo_id]  # only now: no locks for names that somebody tries

    @classmethod
    def fill(cls, folder: Path, temporary: Path, *, private: bool) -> None:
        """Make `folder`, which exists, an empty repository with one empty commit on `main`."""
        for name in ("refs/heads", "refs/tags", "commits", "trees", "blobs"):
            (folder / name).mkdir(parents=True)
        tree = disk.canonical({})
        tree_id = disk.git_id("tree", tree)
        date = now_z()
        commit = disk.canonical(
            {"tree": tree_id, "parent": None, "title": "initial commit", "message": "", "date": date}
        )
        commit_id = disk.git_id("commit", commit)
        write_atomically(folder / "trees" / f"{tree_id}.json", tree, temporary=temporary)
        write_atomically(folder / "commits" / f"{commit_id}.json", commit, temporary=temporary)
        write_atomically(folder / "refs/heads" / MAIN, commit_id.encode(), temporary=temporary)
        about = {"created_at": date, "private": private}
        write_atomically(folder / "repo.json", disk.canonical(about), temporary=temporary)

    def _gone(self) -> RepoNotFound:
        return RepoNotFound(f"{self.id} does not exist")

    # -- reading

    def refs(self, kind: str) -> dict[str, str]:
        """Name -> commit id of `heads` (branches) or `tags`."""
        return {path.name: path.read_text() for path in sorted((self.folder / "refs" / kind).iterdir())}

    def _ref(self, kind: str, name: str) -> str | None:
        try:
            return (self.folder / "refs" / kind / name).read_text()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def resolve(self, revision: str) -> Commit:
        """Find the commit of a branch, a tag, or (the beginning of) a commit id. RevisionNotFound if there is none."""
        commit_id: str | None = None
        try:
            name = MAIN if revision == "HEAD" else ref_name(revision)
            commit_id = self._ref("heads", name) or self._ref("tags", name)
        except Invalid:
            name = revision
        if commit_id is None and len(name) >= 7 and set(name) <= set("0123456789abcdef"):
            matches = [path.stem for path in (self.folder / "commits").glob(f"{name}*.json")]
            commit_id = matches[0] if len(matches) == 1 else None
        if commit_id is None:
            raise RevisionNotFound(f"{self.id} has no revision {revision!r}")
        return self.commit(commit_id)

    def commit(self, commit_id: str) -> Commit:
        """Read a commit that is known to exist."""
        try:
            return Commit(commit_id, **json.loads((self.folder / "commits" / f"{commit_id}.json").read_bytes()))
        except FileNotFoundError:
            raise self._gone() from None

    def history(self, commit: Commit) -> Iterator[Commit]:
        """Yield the commit, its parent, and so on."""
        yield commit
        while commit.parent is not None:
            commit = self.commit(commit.parent)
            yield commit

    def tree(self, commit: Commit) -> Tree:
        """Return all files of a commit by path; not to be changed."""
        try:
            return _read_tree(self.folder / "trees" / f"{commit.tree}.json")
        except FileNotFoundError:
            raise self._gone() from None

    def file(self, commit: Commit, path: str) -> File:
        """Find one file; EntryNotFound when it is not there."""
        try:
            return self.tree(commit)[path]
        except KeyError:
            headers = {"X-Repo-Commit": commit.id}
            raise EntryNotFound(f"{self.id} has no file {path!r} at {commit.id[:7]}", headers) from None

    def blob(self, sha256: str) -> Path:
        """Where a file's contents are, if they are."""
        return self.folder / "blobs" / sha256[:2] / sha256[2:]

    # -- writing

    def keep(self, received: disk.Received) -> None:
        """Move a received file among our blobs. No commit refers to it yet."""
        blob = self.blob(received.sha256)
        if blob.exists():
            return
        try:
            if not blob.parent.exists():
                blob.parent.mkdir(exist_ok=True)  # not its parents: the repository may have been deleted meanwhile
                sync_folder(blob.parent.parent)
            received.part.rename(blob)
            sync_folder(blob.parent)
        except FileNotFoundError:
            raise self._gone() from None

    def add_commit(
        self, branch: str, title: str, message: str, change: Callable[[Tree], Tree], parent: str | None = None
    ) -> Commit:
        """Put `change(files)` on top of a branch. HeadMoved when `parent` is given and is not its head."""
        with self._lock:
            head = self._ref("heads", ref_name(branch))
            if head is None:
                if not self.folder.exists():
                    raise self._gone()
                raise RevisionNotFound(f"{self.id} has no branch {branch!r}: create it first")
            if parent is not None and parent != head:
                raise HeadMoved(f"{self.id}: {branch} is at {head}, not at {parent}: fetch, and commit again")
            tree = change(dict(self.tree(self.commit(head))))
            _check_folders(tree)
            data = disk.canonical({path: list(file) for path, file in tree.items()})
            tree_id = disk.git_id("tree", data)
            fields = {"tree": tree_id, "parent": head, "title": title, "message": message, "date": now_z()}
            commit_data = disk.canonical(fields)
            commit = Commit(disk.git_id("commit", commit_data), tree_id, head, title, message, fields["date"] or "")
            write_atomically(self.folder / "trees" / f"{tree_id}.json", data, temporary=self._temporary)
            write_atomically(self.folder / "commits" / f"{commit.id}.json", commit_data, temporary=self._temporary)
            write_atomically(self.folder / "refs/heads" / branch, commit.id.encode(), temporary=self._temporary)
            return commit

    def add_ref(self, kind: str, name: str, commit: Commit) -> None:
        """Make a branch (`heads`) or a tag (`tags`). Exists when there is one of that name."""
        ref_name(name)
        with self._lock:
            if self._ref(kind, name) is not None:
                raise Exists(f"{self.id} has a {'branch' if kind == 'heads' else 'tag'} {name} already")
            write_atomically(self.folder / "refs" / kind / name, commit.id.encode(), temporary=self._temporary)

    def remove_ref(self, kind: str, name: str) -> None:
        """Remove a branch or tag; the commits stay. RevisionNotFound when there is none."""
        if kind == "heads" and name == MAIN:
            raise Invalid(f"{self.id}: {MAIN} cannot be deleted")
        with self._lock:
            if self._ref(kind, ref_name(name)) is None:
                raise RevisionNotFound(f"{self.id} has no {'branch' if kind == 'heads' else 'tag'} {name!r}")
            (self.folder / "refs" / kind / name).unlink()
            sync_folder(self.folder / "refs" / kind)


def folders_of(paths: Iterable[str]) -> set[str]:
    """List all folders that files at these paths stand in."""
    return {path[:at] for path in paths for at, character in enumerate(path) if character == "/"}


def _check_folders(tree: Tree) -> None:
    both = folders_of(tree) & tree.keys()
    if both:
        raise Invalid(f"{min(both)!r} would be a file and a folder at once")
