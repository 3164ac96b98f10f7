"""Entities in SQLite. One table: what differs between kinds is theirs to validate, not the database's.

Each write is one transaction, on disk when it returns. Refuses (Conflict, NotFound) in words for the client.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Engine, create_engine, event, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from embedded.common.errors import Conflict, NotFound
from embedded.common.names import now

Body = dict[str, Any]


class _Base(DeclarativeBase):
    pass


class Record(_Base):
    """One entity. Namespaces stand in namespace ''."""

    __tablename__ = "entities"

    kind: Mapped[str] = mapped_column(primary_key=True)
    namespace: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[str]
    updated_at: Mapped[str]
    body: Mapped[Body] = mapped_column(JSON)


class Storage:
    """The database. Thread-safe; `open` it first, `close` it when done."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._engine: Engine = create_engine(f"sqlite:///{file}")
        # SQLite lets a transaction read, then write what another has changed meanwhile: one writer at a time.
        self._writing = threading.Lock()

        @event.listens_for(self._engine, "connect")
        def _configure(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA journal_mode = WAL")  # readers do not wait for a writer
            connection.execute("PRAGMA synchronous = FULL")

    def open(self) -> None:
        """Make file and table where there are none."""
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _Base.metadata.create_all(self._engine)

    def close(self) -> None:
        """Let the file go."""
        self._engine.dispose()

    def _get(self, session: Session, kind: str, namespace: str, name: str) -> Record:
        record = session.get(Record, (kind, namespace, name))
        if record is None:
            raise NotFound(f"{kind} {_title(namespace, name)} does not exist")
        return record

    def add(self, kind: str, namespace: str, name: str, new_id: str, body: Body) -> Record:
        """Conflict when there is one of that name."""
        time = now()
        record = Record(
            kind=kind, namespace=namespace, name=name, id=new_id, created_at=time, updated_at=time, body=body
        )
        with self._writing, Session(self._engine, expire_on_commit=False) as session:
            session.add(record)
            try:
                session.commit()
            except IntegrityError:
                raise Conflict(f"{kind} {_title(namespace, name)} exists already") from None
        return record

    def get(self, kind: str, namespace: str, name: str) -> Record:
        """NotFound when there is none."""
        with Session(self._engine) as session:
            return self._get(session, kind, namespace, name)

    def change(self, kind: str, namespace: str, name: str, change: Callable[[Body], Body]) -> Record:
        """Replace the body by `change(body)`; if that raises, nothing has changed. NotFound when there is none."""
        with self._writing, Session(self._engine, expire_on_commit=False) as session:
            record = self._get(session, kind, namespace, name)
            record.body = change(record.body)
            record.updated_at = now()
            session.commit()
            return record

    def remove(self, kind: str, namespace: str, name: str) -> Record:
        """Delete it and return what it was. NotFound when there is none."""
        with self._writing, Session(self._engine, expire_on_commit=False) as session:
            record = self._get(session, kind, namespace, name)
            session.delete(record)
            session.commit()
            return record

    def all(self, kind: str, namespace: str | None = None) -> list[Record]:
        """Every entity of a kind, of one namespace or of all."""
        query = select(Record).where(Record.kind == kind)
        if namespace is not None:
            query = query.where(Record.namespace == namespace)
        with Session(self._engine) as session:
            return list(session.scalars(query))


def _title(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name
