"""JSON documents in one SQLite file, by kind and key: what a service remembers across restarts.

Each write is one transaction that is on disk when the call returns (write-ahead log, synchronous FULL). One process
owns the file; one lock makes read-change-write steps atomic within it. What is deleted is overwritten, since documents
may hold keys. The file is readable by its owner alone.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Document = dict[str, Any]
# Takes the rows of an older layout out of the database; see `Documents`.
Upgrade = Callable[[sqlite3.Connection], list[tuple[str, str, Document]]]
_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    kind VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    document JSON NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS documents_by_key ON documents (kind, key);
"""


class Documents:
    """Documents in the order of their creation. `open` it first, `close` it when done; thread-safe.

    `upgrade` is called at each opening, within a transaction and before the table is made: it returns (kind, key,
    document) of what an earlier version wrote, and removes that version's table.
    """

    def __init__(self, path: Path, upgrade: Upgrade | None = None) -> None:
        self._path, self._upgrade = path, upgrade
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Make file and table where there are none, and bring older ones up to date."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path.touch(mode=0o600)
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
        self._connection = connection
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}")
        with self._transaction():
            rows = self._upgrade(connection) if self._upgrade else []
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            for kind, key, document in rows:
                self._insert(kind, key, document)

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def insert(self, kind: str, key: str, document: Document) -> bool:
        """Add a document; False when there is one of that kind and key already, which stays as it is."""
        with self._transaction():
            try:
                self._insert(kind, key, document)
            except sqlite3.IntegrityError:
                return False
        return True

    def get(self, kind: str, key: str) -> Document | None:
        """Get the document, or None."""
        with self._lock:
            return self._get(kind, key)

    def all(self, kind: str, prefix: str = "") -> list[Document]:
        """All of that kind whose keys begin with `prefix`, oldest first."""
        query = "SELECT document FROM documents WHERE kind = ? AND substr(key, 1, ?) = ? ORDER BY sequence"
        with self._lock:
            rows = self._open.execute(query, (kind, len(prefix), prefix)).fetchall()
        return [json.loads(text) for (text,) in rows]

    def change(self, kind: str, key: str, edit: Callable[[Document], Document]) -> Document | None:
        """Replace the document by what `edit` makes of it, in one transaction; None when there is none.

        If `edit` raises, nothing has changed.
        """
        with self._transaction():
            document = self._get(kind, key)
            if document is None:
                return None
            changed = edit(document)
            self._open.execute(
                "UPDATE documents SET document = ? WHERE kind = ? AND key = ?", (_as_text(changed), kind, key)
            )
            return changed

    def delete(self, kind: str, key: str) -> Document | None:
        """Remove the document and return what it was; None when there is none."""
        with self._transaction():
            document = self._get(kind, key)
            self._open.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (kind, key))
        return document

    def scrub(self) -> None:
        """Empty the write-ahead log, in which former contents stand until it is written over."""
        with self._lock:
            self._open.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @property
    def _open(self) -> sqlite3.Connection:
        assert self._connection is not None, "open() comes first"
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._open.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._open.execute("ROLLBACK")
                raise
            self._open.execute("COMMIT")

    def _insert(self, kind: str, key: str, document: Document) -> None:
        self._open.execute(
            "INSERT INTO documents (kind, key, document) VALUES (?, ?, ?)", (kind, key, _as_text(document))
        )

    def _get(self, kind: str, key: str) -> Document | None:
        query = "SELECT document FROM documents WHERE kind = ? AND key = ?"
        row = self._open.execute(query, (kind, key)).fetchone()
        return None if row is None else dict(json.loads(row[0]))


def columns_of(connection: sqlite3.Connection, table: str) -> set[str]:
    """Names of the columns of `table`; none when there is no such table."""
    return {str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")}


def _as_text(document: Document) -> str:
    return json.dumps(document, ensure_ascii=False)
