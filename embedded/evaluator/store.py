"""Documents of the Evaluator in SQLite: targets, configurations, jobs, results.

Keys of endpoints are kept, for a running job must go on after a restart; the database file is readable by its owner
alone, `masked` is applied to all that leaves the service, and an ended job keeps no key.
"""

import threading
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import JSON, String, UniqueConstraint, create_engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

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


class _Base(DeclarativeBase):
    pass


class _Row(_Base):
    __tablename__ = "documents"
    __table_args__ = (UniqueConstraint("kind", "namespace", "name"),)

    kind: Mapped[str] = mapped_column(String, primary_key=True)
    id: Mapped[str] = mapped_column(String, primary_key=True)
    namespace: Mapped[str]
    name: Mapped[str]
    body: Mapped[dict[str, Any]] = mapped_column(JSON)


class Store:
    """Documents by kind and id, or by kind and `namespace/name`. NotFound and Conflict are answers to the client."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        self._engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})
        _Base.metadata.create_all(self._engine)
        self._lock = threading.Lock()  # read-change-write of one document is one step

    def close(self) -> None:
        """Give the file free."""
        self._engine.dispose()

    def add(self, kind: Kind, body: dict[str, Any]) -> dict[str, Any]:
        """Store a new document under its `id`, `namespace` and `name`; sets its times."""
        body = {"created_at": (time := now()), "updated_at": time} | body
        row = _Row(
            kind=kind, id=body["id"], namespace=body["namespace"], name=body.get("name") or body["id"], body=body
        )
        try:
            with Session(self._engine) as session, session.begin():
                session.add(row)
        except IntegrityError:
            raise Conflict(f"{kind} {row.namespace}/{row.name} exists already: delete it first, or use PATCH") from None
        return body

    def get(self, kind: Kind, key: str) -> dict[str, Any]:
        """Read the document with id `key`, or with reference `key` if it holds a slash."""
        with Session(self._engine) as session:
            return dict(self._row(session, kind, key).body)

    def all(self, kind: Kind) -> list[dict[str, Any]]:
        """Every document of `kind`."""
        with Session(self._engine) as session:
            return [dict(body) for body in session.scalars(select(_Row.body).where(_Row.kind == kind))]

    def update(self, kind: Kind, key: str, **changes: Any) -> dict[str, Any]:
        """Lay `changes` over a document; returns the new one."""
        with self._lock, Session(self._engine) as session, session.begin():
            row = self._row(session, kind, key)
            row.body = {**row.body, **changes, "updated_at": now()}
            return dict(row.body)

    def delete(self, kind: Kind, key: str) -> dict[str, Any]:
        """Remove a document; returns what it was."""
        with self._lock, Session(self._engine) as session, session.begin():
            row = self._row(session, kind, key)
            session.delete(row)
            return dict(row.body)

    @staticmethod
    def _row(session: Session, kind: Kind, key: str) -> _Row:
        query = select(_Row).where(_Row.kind == kind)
        if "/" in key:
            namespace, _, name = key.rpartition("/")
            query = query.where(_Row.namespace == namespace, _Row.name == name)
        else:
            query = query.where(_Row.id == key)
        row = session.scalars(query).one_or_none()
        if row is None:
            raise NotFound(
                f"{kind} {key!r} does not exist"
                + ("" if "/" in key or kind == "job" else f"; by name it is {Ref('default', key)}?")
            )
        return row
