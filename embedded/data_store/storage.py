"""All repositories and namespaces under one data folder.

    namespaces/NS.json         {"namespace", "created_at", "updated_at"}
    repos/TYPE/NS/NAME/        see repository.py
    tmp/                       what is being written; emptied at start
    trash/                     deleted repositories, until they are removed; emptied at start
Refuses to open a folder that another Data Store has open.
"""

import json
import logging
import os
import shutil
import threading
import time
import uuid
from collections import defaultdict
from contextlib import ExitStack, suppress
from pathlib import Path

from embedded.common.names import is_name
from embedded.data_store import disk
from embedded.data_store.hub_errors import EntryNotFound, Exists, RepoNotFound
from embedded.data_store.names import REPO_TYPES, RepoId, RepoType
from embedded.data_store.repository import Repository, now_z
from embedded.data_store.sweep import sweep
from nemostack.files import locked, sync_folder, write_atomically

SPARED_S = 24 * 3600  # an upload that was interrupted may go on for so long
logger = logging.getLogger("uvicorn.error")  # the service's log


class Storage:
    """The data folder. `open` it before use, `close` it after."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.temporary = folder, folder / "tmp"
        self._locks: dict[RepoId, threading.Lock] = defaultdict(threading.Lock)
        self._lock = ExitStack()

    def open(self) -> None:
        """Make the folder if there is none, and clear what a crash has left. OSError when another process has it."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._lock.enter_context(locked(self.folder / "lock", wait_s=0))
        except TimeoutError:
            raise OSError(f"{self.folder} is in use by another Data Store: stop that one first") from None
        for name in ("tmp", "trash"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in ("tmp", "trash", "namespaces", *(f"repos/{kind}" for kind in REPO_TYPES)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        freed = sum(sweep(repo, time.time() - SPARED_S) for repo in self.repositories())
        if freed:
            logger.info("freed %d bytes that no branch or tag leads to", freed)

    def close(self) -> None:
        """Let the folder go."""
        self._lock.close()

    # -- namespaces

    def add_namespace(self, name: str) -> dict[str, str]:
        """Exists when there is one of that name."""
        date = now_z()
        about = {"namespace": name, "created_at": date, "updated_at": date}
        part = self.temporary / uuid.uuid4().hex
        write_atomically(part, disk.canonical(about), temporary=self.temporary)
        try:
            os.link(part, self._namespace_file(name))  # unlike a rename, fails when there is one
        except FileExistsError:
            raise Exists(f"namespace {name} exists already") from None
        finally:
            part.unlink()
        sync_folder(self.folder / "namespaces")
        return about

    def _namespace_file(self, name: str) -> Path:
        if not is_name(name):
            raise EntryNotFound(f"namespace {name!r} does not exist, for it cannot")
        return self.folder / "namespaces" / f"{name}.json"

    def namespace(self, name: str) -> dict[str, str]:
        """EntryNotFound when there is none."""
        try:
            about: dict[str, str] = json.loads(self._namespace_file(name).read_bytes())
        except FileNotFoundError:
            raise EntryNotFound(f"namespace {name} does not exist") from None
        return about

    def namespaces(self) -> list[dict[str, str]]:
        """List them in order of their names."""
        return [json.loads(path.read_bytes()) for path in sorted((self.folder / "namespaces").glob("*.json"))]

    def remove_namespace(self, name: str) -> None:
        """EntryNotFound when there is none, Exists when it holds repositories."""
        self.namespace(name)
        held = [str(repo.id) for repo in self.repositories(namespace=name)]
        if held:
            raise Exists(f"namespace {name} holds {', '.join(held[:5])}: delete what is in it first")
        self._namespace_file(name).unlink(missing_ok=True)
        sync_folder(self.folder / "namespaces")

    # -- repositories

    def _repo_folder(self, repo_id: RepoId) -> Path:
        if not (is_name(repo_id.namespace) and is_name(repo_id.name)):  # nothing that leaves our folder
            raise RepoNotFound(f"{repo_id} does not exist, for it cannot")
        return self.folder / "repos" / repo_id.type / repo_id.namespace / repo_id.name

    def repository(self, repo_id: RepoId) -> Repository:
        """RepoNotFound when there is none."""
        return Repository(repo_id, self._repo_folder(repo_id), self.temporary, self._locks)

    def repositories(self, kind: RepoType | None = None, namespace: str | None = None) -> list[Repository]:
        """List them by type, namespace and name."""
        matching = []
        for type_ in REPO_TYPES if kind is None else (kind,):
            for path in sorted((self.folder / "repos" / type_).glob(f"{namespace or '*'}/*/repo.json")):
                try:
                    matching.append(self.repository(RepoId(type_, path.parent.parent.name, path.parent.name)))
                except RepoNotFound:  # deleted while we were listing
                    continue
        return matching

    def add_repository(self, repo_id: RepoId, *, private: bool) -> None:
        """Make an empty repository, and its namespace if need be. Exists when there is one of that name."""
        if not self._namespace_file(repo_id.namespace).exists():
            with suppress(Exists):  # made by another request just now
                self.add_namespace(repo_id.namespace)
        new = self.temporary / uuid.uuid4().hex
        new.mkdir()
        Repository.fill(new, self.temporary, private=private)
        folder = self._repo_folder(repo_id)
        folder.parent.mkdir(exist_ok=True)
        try:
            new.rename(folder)
        except OSError as error:
            shutil.rmtree(new)
            if folder.exists():
                raise Exists(f"{repo_id} exists already") from None
            raise error from None
        sync_folder(folder.parent)

    def remove_repository(self, repo_id: RepoId) -> None:
        """Remove it and all its files. RepoNotFound when there is none."""
        trash = self.folder / "trash" / uuid.uuid4().hex
        folder = self.repository(repo_id).folder
        with self._locks[repo_id]:
            try:
                folder.rename(trash)
            except FileNotFoundError:
                raise RepoNotFound(f"{repo_id} does not exist") from None
            sync_folder(folder.parent)
        shutil.rmtree(trash)
