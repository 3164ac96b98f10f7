"""Entities as documents. What differs between kinds is theirs to validate, not the database's.

Refuses (Conflict, NotFound) in words for the client.
"""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from embedded.common.documents import Document, Documents, columns_of
from embedded.common.errors import Conflict, NotFound
from embedded.common.names import now


class Record(NamedTuple):
    """One entity. Namespaces stand in namespace ''."""

    namespace: str
    name: str
    id: str
    created_at: str
    updated_at: str
    body: Document


def _key(namespace: str, name: str) -> str:
    return f"{namespace}/{name}"


def _take_older_rows(connection: sqlite3.Connection) -> list[tuple[str, str, Document]]:
    """Read the table of 0.1.0, `entities`, and remove it."""
    if not columns_of(connection, "entities"):
        return []
    query = "SELECT kind, namespace, name, id, created_at, updated_at, body FROM entities ORDER BY created_at"
    rows = []
    for kind, namespace, name, entity_id, created_at, updated_at, body in connection.execute(query).fetchall():
        record = Record(namespace, name, entity_id, created_at, updated_at, json.loads(body))
        rows.append((kind, _key(namespace, name), record._asdict()))
    connection.execute("DROP TABLE entities")
    return rows


class Storage:
    """The database. Thread-safe; `open` it first, `close` it when done."""

    def __init__(self, file: Path) -> None:
        self._documents = Documents(file, _take_older_rows)

    def open(self) -> None:
        """Make file and table where there are none."""
        self._documents.open()

    def close(self) -> None:
        """Let the file go."""
        self._documents.close()

    def add(self, kind: str, namespace: str, name: str, new_id: str, body: Document) -> Record:
        """Conflict when there is one of that name."""
        time = now()
        record = Record(namespace, name, new_id, time, time, body)
        if not self._documents.insert(kind, _key(namespace, name), record._asdict()):
            raise Conflict(f"{kind} {_title(namespace, name)} exists already")
        return record

    def get(self, kind: str, namespace: str, name: str) -> Record:
        """NotFound when there is none."""
        return self._record(self._documents.get(kind, _key(namespace, name)), kind, namespace, name)

    def change(self, kind: str, namespace: str, name: str, change: Callable[[Document], Document]) -> Record:
        """Replace the body by `change(body)`; if that raises, nothing has changed. NotFound when there is none."""
        document = self._documents.change(
            kind, _key(namespace, name), lambda old: old | {"body": change(old["body"]), "updated_at": now()}
        )
        return self._record(document, kind, namespace, name)

    def remove(self, kind: str, namespace: str, name: str) -> Record:
        """Delete it and return what it was. NotFound when there is none."""
        return self._record(self._documents.delete(kind, _key(namespace, name)), kind, namespace, name)

    def all(self, kind: str, namespace: str | None = None) -> list[Record]:
        """Every entity of a kind, of one namespace or of all."""
        documents = self._documents.all(kind, "" if namespace is None else _key(namespace, ""))
        return [Record(**document) for document in documents]

    @staticmethod
    def _record(document: Document | None, kind: str, namespace: str, name: str) -> Record:
        if document is None:
            raise NotFound(f"{kind} {_title(namespace, name)} does not exist")
        return Record(**document)


def _title(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name
