"""Documents of the Evaluator: targets and configurations by `namespace/name`, jobs and results by their ids.

Keys of endpoints are kept, for a running job must go on after a restart; the database file is readable by its owner
alone, `masked` is applied to all that leaves the service, and an ended job keeps no key.
"""

import json
import sqlite3
from pathlib import Path
from typing import Any, Literal

from embedded.common.documents import Document, Documents, columns_of
from embedded.common.errors import Conflict, NotFound
from embedded.common.names import Ref, now

Kind = Literal["target", "config", "job", "result"]
MASK = "******"


def masked(document: Any) -> Any:
    """Copy `document` with every key of an endpoint and every token of a hub hidden."""
    if isinstance(document, dict):
        return {k: MASK if k in {"api_key", "hf_token"} and v is not None else masked(v) for k, v in document.items()}
    if isinstance(document, list):
        return [masked(item) for item in document]
    return document


def _key(kind: str, body: Document) -> str:
    if kind in {"target", "config"}:
        return f"{body['namespace']}/{body.get('name') or body['id']}"
    return str(body["id"])


def _take_older_rows(connection: sqlite3.Connection) -> list[tuple[str, str, Document]]:
    """Read the table of 0.1.0, which had columns for id, namespace and name, and remove it."""
    if "body" not in columns_of(connection, "documents"):
        return []
    bodies = [(kind, json.loads(text)) for kind, text in connection.execute("SELECT kind, body FROM documents")]
    connection.execute("DROP TABLE documents")
    bodies.sort(key=lambda row: str(row[1].get("created_at")))
    return [(kind, _key(kind, body), body) for kind, body in bodies]


class Store:
    """Documents by kind and id, or by kind and `namespace/name`. NotFound and Conflict are answers to the client."""

    def __init__(self, path: Path) -> None:
        self.documents = Documents(path, _take_older_rows)
        self.documents.open()

    def close(self) -> None:
        """Give the file free."""
        self.documents.close()

    def add(self, kind: Kind, body: Document) -> Document:
        """Store a new document under its `id`, `namespace` and `name`; sets its times."""
        body = {"created_at": (time := now()), "updated_at": time} | body
        reference = f"{body['namespace']}/{body.get('name') or body['id']}"
        is_taken = kind == "job" and any(self._reference(job) == reference for job in self.all("job"))
        if is_taken or not self.documents.insert(kind, _key(kind, body), body):
            raise Conflict(f"{kind} {reference} exists already: delete it first, or use PATCH")
        return body

    def get(self, kind: Kind, key: str) -> Document:
        """Read the document with id `key`, or with reference `key` if it holds a slash."""
        return self._find(kind, key)

    def all(self, kind: Kind) -> list[Document]:
        """Every document of `kind`."""
        return self.documents.all(kind)

    def update(self, kind: Kind, key: str, **changes: Any) -> Document:
        """Lay `changes` over a document; returns the new one."""
        stored = _key(kind, self._find(kind, key))
        body = self.documents.change(kind, stored, lambda old: {**old, **changes, "updated_at": now()})
        if body is None:
            raise self._absent(kind, key)
        return body

    def delete(self, kind: Kind, key: str) -> Document:
        """Remove a document; returns what it was. Nothing of it stays in the file."""
        body = self.documents.delete(kind, _key(kind, self._find(kind, key)))
        if body is None:
            raise self._absent(kind, key)
        self.documents.scrub()
        return body

    def _find(self, kind: Kind, key: str) -> Document:
        body = self.documents.get(kind, key)
        if body is None:
            names = "/" in key
            same = (one for one in self.all(kind) if key == (self._reference(one) if names else one["id"]))
            body = next(same, None)
        if body is None:
            raise self._absent(kind, key)
        return body

    @staticmethod
    def _reference(body: Document) -> str:
        return f"{body['namespace']}/{body.get('name') or body['id']}"

    @staticmethod
    def _absent(kind: Kind, key: str) -> NotFound:
        hint = "" if "/" in key or kind in {"job", "result"} else f"; by name it is {Ref('default', key)}?"
        return NotFound(f"{kind} {key!r} does not exist{hint}")
