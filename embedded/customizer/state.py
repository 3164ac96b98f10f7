"""What the Customizer remembers across restarts: JSON documents in SQLite, by kind and key.

One service process owns the file; a lock makes read-modify-write steps atomic within it.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, create_engine, delete, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

Document = dict[str, Any]


class _Base(DeclarativeBase):
    type_annotation_map = {Document: JSON}  # noqa: RUF012 - how SQLAlchemy wants it


class _Row(_Base):
    __tablename__ = "documents"
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(index=True)
    key: Mapped[str] = mapped_column(index=True)
    document: Mapped[Document]


class State:
    """Documents in the order of their creation."""

    def __init__(self, path: Path) -> None:
        self._engine = create_engine(f"sqlite:///{path}")
        self._lock = threading.RLock()

    def open(self) -> None:
        """Make the tables if this is the first time."""
        _Base.metadata.create_all(self._engine)

    def close(self) -> None:
        """Give the file back."""
        self._engine.dispose()

    def insert(self, kind: str, key: str, document: Document) -> bool:
        """Add a document; False when there is one of that kind and key already, which stays as it is."""
        with self._lock, Session(self._engine) as session, session.begin():
            if self._row(session, kind, key) is not None:
                return False
            session.add(_Row(kind=kind, key=key, document=document))
        return True

    def get(self, kind: str, key: str) -> Document | None:
        """Get the document, or None."""
        with self._lock, Session(self._engine) as session:
            row = self._row(session, kind, key)
            return None if row is None else row.document

    def all(self, kind: str) -> list[Document]:
        """All of that kind, oldest first."""
        with self._lock, Session(self._engine) as session:
            return list(session.scalars(select(_Row.document).where(_Row.kind == kind).order_by(_Row.sequence)))

    def change(self, kind: str, key: str, edit: Callable[[Document], Document]) -> Document | None:
        """Replace the document by what `edit` makes of it, in one transaction; None when there is none."""
        with self._lock, Session(self._engine) as session, session.begin():
            row = self._row(session, kind, key)
            if row is None:
                return None
            row.document = edit(dict(row.document))
            return row.document

    def delete(self, kind: str, key: str) -> bool:
        """Whether there was one to delete."""
        with self._lock, Session(self._engine) as session, session.begin():
            if self._row(session, kind, key) is None:
                return False
            session.execute(delete(_Row).where(_Row.kind == kind, _Row.key == key))
        return True

    @staticmethod
    def _row(session: Session, kind: str, key: str) -> _Row | None:
        return session.scalars(select(_Row).where(_Row.kind == kind, _Row.key == key)).one_or_none()
