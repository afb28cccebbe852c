"""What a piece of work sees: reads and writes of records within the savepoint of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from ghostwire.errors import Conflict
from ghostwire.model import Record
from ghostwire_storage_sql.statements import Statements
from ghostwire_storage_sql.tables import MAPPED

R = TypeVar("R", bound=Record)
Changes = dict[tuple[type[Record], int], Record | None]


class SqlTransaction:
    """One work's part of a commit; ``changes`` holds the last state of each record it touched.

    ``broken_rule`` is the driver's exception for a violated constraint.
    """

    def __init__(self, cursor: Any, statements: Statements, broken_rule: type[Exception]) -> None:
        self._cursor, self._sql, self._broken_rule = cursor, statements, broken_rule
        self._writing = False
        self.changes: Changes = {}

    def get(self, kind: type[R], id_: int) -> R | None:
        """The record of that id."""
        row = self._cursor.execute(self._sql.get[kind], (id_,)).fetchone()
        record: R | None = MAPPED[kind].record(row) if row else None
        return record

    def find(self, kind: type[R], **equal: Any) -> Sequence[R]:
        """Records whose fields have these values, by id."""
        mapped = MAPPED[kind]
        values = [mapped.value(mapped.field(name), value) for name, value in equal.items()]
        rows = self._cursor.execute(self._sql.find(kind, tuple(equal)), values).fetchall()
        return [mapped.record(row) for row in rows]

    def new_id(self, kind: type[Record]) -> int:
        """An id for this kind that no record had or will have."""
        self._begin()
        return next_number(self._cursor, self._sql, MAPPED[kind].name)

    def put(self, record: Record) -> None:
        """Insert or replace; Conflict where another record holds a unique value."""
        kind = type(record)
        self._write(self._sql.put[kind], MAPPED[kind].row(record), f"{kind.__name__} {record.id}")
        self.changes[kind, record.id] = record

    def delete(self, kind: type[Record], id_: int) -> None:
        """Remove; Conflict where another record refers to it."""
        self._write(self._sql.delete[kind], (id_,), f"{kind.__name__} {id_}")
        if self._cursor.rowcount:
            self.changes[kind, id_] = None

    def setting(self, name: str) -> str | None:
        """A named value of the whole mesh."""
        row = self._cursor.execute(self._sql.get_setting, (name,)).fetchone()
        return row[0] if row else None

    def set_setting(self, name: str, value: str) -> None:
        """Store a named value."""
        self._write(self._sql.put_setting, (name, value), f"setting {name}")

    def keep(self) -> None:
        """Make what was written part of the commit."""
        if self._writing:
            self._cursor.execute("RELEASE SAVEPOINT work")

    def undo(self) -> None:
        """Take back everything that was written."""
        if self._writing:
            self._cursor.execute("ROLLBACK TO SAVEPOINT work")
            self._cursor.execute("RELEASE SAVEPOINT work")

    def _begin(self) -> None:
        if not self._writing:
            self._cursor.execute("SAVEPOINT work")
            self._writing = True

    def _write(self, sql: str, values: Sequence[Any], what: str) -> None:
        self._begin()
        try:
            self._cursor.execute(sql, values)
        except self._broken_rule as error:
            raise Conflict(f"{what} contradicts what is stored: {error}") from None


def next_number(cursor: Any, statements: Statements, counter: str) -> int:
    """Raise a counter by one and give its new value; its row stays locked until the commit."""
    number: int = cursor.execute(statements.next_number, (1, counter)).fetchone()[0]
    return number
