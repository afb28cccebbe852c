"""The database's change log, read behind the servers' backs as it grows, and the records that follow from it."""

from __future__ import annotations

from contextlib import closing
from typing import Any, TypeVar

import psycopg
from tests.cluster.history import History, Operation

from ghostwire.model import Node, PolicyVersion, PreAuthKey, Record, Route, User, unpacker
from ghostwire_storage_sql.tables import BY_NAME, MAPPED

READ = """SELECT revision, position, mark, kind, record_id, record FROM log WHERE revision > %s
ORDER BY revision, position"""
R = TypeVar("R", bound=Record)
_decoders = {name: unpacker(mapped.kind) for name, mapped in BY_NAME.items()}


class Log:
    """Of the database at ``url``; what must not be goes to the history."""

    def __init__(self, url: str, history: History) -> None:
        self.url, self._history = url, history
        self.revision = 0
        self.records: dict[tuple[type[Record], int], Record] = {}
        self.changes: list[tuple[int, type[Record], int, Record | None, Record | None]] = []
        """(revision, kind, id, record before, record)."""
        self._ever: set[tuple[type[Record], int]] = set()
        self._holders: dict[Any, int] = {}
        self._doubtful: list[tuple[type[Record], str, int, int]] = []

    def read(self) -> None:
        """Take what is new; OperationalError where the database is away."""
        with closing(psycopg.connect(self.url, autocommit=True, connect_timeout=5)) as connection:
            self._take(connection)

    def stored(self) -> dict[tuple[type[Record], int], Record]:
        """Take what is new; the tables' rows at that moment, which the log must lead to."""
        found = {}
        with closing(psycopg.connect(self.url)) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            self._take(connection)
            for kind, mapped in MAPPED.items():
                columns = ", ".join(f'"{field.name}"' for field in mapped.fields)
                for row in connection.execute(f"SELECT {columns} FROM {mapped.name}").fetchall():  # type: ignore[arg-type]
                    record = mapped.record(row)
                    found[kind, record.id] = record
        return found

    def _take(self, connection: psycopg.Connection[Any]) -> None:
        for revision, position, mark, name, id_, blob in connection.execute(READ, (self.revision,)).fetchall():
            self._follow(revision, position, mark)
            if name in BY_NAME:
                self._apply(BY_NAME[name].kind, id_, None if blob is None else _decoders[name].decode(blob))
        self._judge()

    def all(self, kind: type[R]) -> list[R]:
        """The records of a kind as of the last revision read, by id."""
        found = [record for record in self.records.values() if isinstance(record, kind)]
        return sorted(found, key=lambda record: record.id)

    def where(self, operation: Operation) -> list[int]:
        """The revisions in which this happened."""
        kind, field = FINDERS[operation.kind]
        return [
            revision
            for revision, of, id_, before, record in self.changes
            if of is kind and _is(operation, field, id_, before, record)
        ]

    def _follow(self, revision: int, position: int, mark: bytes) -> None:
        if position == 0:
            self._judge()
        expected = self.revision + 1 if position == 0 else self.revision
        if revision != expected:
            self._history.violated("revisions are dense", f"{revision}.{position} after {self.revision}")
        self._history.told(revision, bytes(mark))
        self.revision = revision

    def _apply(self, kind: type[Record], id_: int, record: Record | None) -> None:
        before = self.records.pop((kind, id_), None)
        self.changes.append((self.revision, kind, id_, before, record))
        if record is None:
            return
        if before is None and (kind, id_) in self._ever:
            self._history.violated("an id is given once", f"{kind.__name__} {id_} at revision {self.revision}")
        self._ever.add((kind, id_))
        self.records[kind, id_] = record
        self._hold(kind, record)
        if isinstance(record, Node):
            for what in ("addresses", "stable_id"):
                self._history.holds(what, getattr(record, what), f"node {id_}")

    def _hold(self, kind: type[Record], record: Record) -> None:
        """Note who holds its unique values; another one may go later in the same revision."""
        for name in kind.unique:
            value = getattr(record, name)
            holder = self._holders.get((kind, name, value))
            if value is not None and holder not in (None, record.id):
                self._doubtful.append((kind, name, holder or 0, record.id))
            self._holders[kind, name, value] = record.id

    def _judge(self) -> None:
        """At the end of a revision: two that hold one value."""
        for kind, name, first, second in self._doubtful:
            one, other = self.records.get((kind, first)), self.records.get((kind, second))
            if one is not None and other is not None and getattr(one, name) == getattr(other, name):
                text = f"{kind.__name__}.{name} {getattr(one, name)!r}: {first} and {second}, revision {self.revision}"
                self._history.violated("nothing is held twice", text)
        self._doubtful.clear()


def _is(operation: Operation, field: str | None, id_: int, before: Record | None, record: Record | None) -> bool:
    """Whether the change is what the operation asked for."""
    if operation.about is not None and operation.about != id_:
        return False
    if field is None:
        return before is not None and record is None
    now, was = getattr(record, field, None), getattr(before, field, None)
    return bool(now == operation.value and was != now)


FINDERS: dict[str, tuple[type[Record], str | None]] = {
    "enrol": (Node, "machine_key"),
    "rename node": (Node, "name"),
    "delete node": (Node, None),
    "add user": (User, "name"),
    "rename user": (User, "name"),
    "delete user": (User, None),
    "set policy": (PolicyVersion, "note"),
    "revoke key": (PreAuthKey, "revoked"),
    "approve route": (Route, "approved"),
}
"""What a change of each kind of operation looks like: the record and the field that comes to hold the value; None: the
record goes."""
