"""Every statement that runs, written once by SQLAlchemy in the database's own dialect.

The text is then executed on the driver's cursor with positional values, many rows a statement: the driver gives up the
interpreter for each statement, and getting it back from a busy loop costs more than the statement itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ghostwire_storage_sql.tables import MAPPED, Mapped, counters, log, settings

REVISION = "revision"
"""The counter whose row servers lock, where several write."""
MANY = 400
"""Rows a statement; databases allow some ten thousand values in one."""


class Statements:
    """The SQL of one dialect; the order of values is the order of the columns named."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._dialect = dialect
        self.all = {kind: self._select_all(mapped) for kind, mapped in MAPPED.items()}
        self.insert = {kind: self._text(sa.insert(mapped.table)) for kind, mapped in MAPPED.items()}
        self.delete = {
            kind: self._text(sa.delete(mapped.table).where(mapped.table.c.id.in_([sa.bindparam("id_")])))
            for kind, mapped in MAPPED.items()
        }

    @cached_property
    def lock(self) -> str:
        """() -> (revision): keep others from writing until the transaction ends."""
        name: sa.ColumnElement[str] = sa.literal_column(f"'{REVISION}'", sa.Text)
        return self._text(sa.select(counters.c.value).where(counters.c.name == name).with_for_update())

    @cached_property
    def counters(self) -> str:
        """() -> (name, value) of all."""
        return self._text(sa.select(counters.c.name, counters.c.value))

    @cached_property
    def settings(self) -> str:
        """() -> (name, value) of all."""
        return self._text(sa.select(settings.c.name, settings.c.value))

    @cached_property
    def put_counter(self) -> str:
        """(name, value)."""
        return self._upsert(counters)

    @cached_property
    def put_setting(self) -> str:
        """(name, value)."""
        return self._upsert(settings)

    @cached_property
    def add_log(self) -> str:
        """(revision, position, mark, kind, id, record)."""
        return self._text(sa.insert(log))

    @cached_property
    def oldest(self) -> str:
        """() -> the first revision that the log still has, or NULL."""
        return self._text(sa.select(sa.func.min(log.c.revision)))

    @cached_property
    def mark(self) -> str:
        """(revision) -> its mark."""
        first = sa.and_(log.c.revision == sa.bindparam("revision_"), log.c.position == sa.literal_column("0"))
        return self._text(sa.select(log.c.mark).where(first))

    @cached_property
    def read_log(self) -> str:
        """(revision) -> (revision, mark, kind, id, record) of those after it, in order."""
        row = log.c
        query = sa.select(row.revision, row.mark, row.kind, row.record_id, row.record)
        return self._text(query.where(row.revision > sa.bindparam("revision_")).order_by(row.revision, row.position))

    @cached_property
    def compact(self) -> str:
        """(revision): forget those before it."""
        return self._text(sa.delete(log).where(log.c.revision < sa.bindparam("revision_")))

    def _select_all(self, mapped: Mapped[Any]) -> str:
        columns = mapped.table.c
        return self._text(sa.select(*(columns[field.name] for field in mapped.fields)).order_by(columns.id))

    def _upsert(self, table: sa.Table) -> str:
        insert: Any = (postgresql if self._dialect.name == "postgresql" else sqlite).insert(table)
        return self._text(insert.on_conflict_do_update(index_elements=["name"], set_={"value": insert.excluded.value}))

    def _text(self, statement: sa.sql.ClauseElement) -> str:
        return str(statement.compile(dialect=self._dialect, compile_kwargs={"render_postcompile": True}))


def in_bulk(statement: str, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """A statement that ends in one parenthesised list of values, as statements for up to `MANY` rows at a time.

    ``INSERT ... VALUES (a, b)`` becomes ``VALUES (a, b), (a, b)``, ``DELETE ... IN (a)`` becomes ``IN (a, a)``.
    """
    head, _, values = statement.rpartition("(")
    between = "), (" if head.rstrip().endswith("VALUES") else ", "
    for start in range(0, len(rows), MANY):
        part = rows[start : start + MANY]
        yield f"{head}({between.join([values[:-1]] * len(part))})", tuple(value for row in part for value in row)
