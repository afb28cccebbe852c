"""Backups: everything as of one revision, out of the writer's memory; and an empty database filled with it.

A database in a file is restored under another name beside its own and renamed when it is whole: whatever happens
meanwhile, the server finds the old one or the new one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ghostwire.capabilities.storage import Backup
from ghostwire.engine import Entropy
from ghostwire.errors import Conflict, Refused, StateError
from ghostwire.model import Record, User
from ghostwire_storage_sql import schema
from ghostwire_storage_sql.memory import Memory
from ghostwire_storage_sql.statements import REVISION, Statements, in_bulk
from ghostwire_storage_sql.tables import BY_NAME, MAPPED

MARK_BYTES = 8
FULL = "{where}: has data in it; name an empty database, or set this one aside with --force"
STYLES: Mapping[str, Any] = {"sqlite": "qmark", "postgresql": "format"}
"""How values are marked in statements that are given them by position."""
_NOBODY = 0
"""No record's id: a log row that says that he went changes nothing, and carries the revision's mark."""
_COMPANIONS = ("-wal", "-shm", "-journal")


def taken(memory: Memory, revision: int) -> Backup:
    """What the memory holds, whose works are all committed: pointers are copied, the records stay where they are."""
    return kept(memory.records, memory.settings, memory.counters, revision)


def kept(records: Iterable[Record], settings: Mapping[str, str], counters: Mapping[str, int], revision: int) -> Backup:
    """A backup of these records; counters by the names of their tables."""
    last_ids = {BY_NAME[name].kind: value for name, value in counters.items() if name in BY_NAME}
    return Backup(revision, tuple(records), dict(settings), last_ids)


def fill(connection: sa.Connection, backup: Backup, entropy: Entropy, where: str) -> None:
    """Migrate and fill a database within the connection's transaction; Conflict where it is not empty.

    The records go through a `Memory`, so that what no database would hold is refused in one line.
    """
    schema.prepare(connection, where)
    sql = Statements(type(connection.dialect)(paramstyle=STYLES[connection.dialect.name]))  # type: ignore[call-arg]
    cursor: Any = connection.connection.cursor()
    if not _is_empty(cursor, sql):
        raise Conflict(f"{where}: has data in it; name an empty database, or empty this one (dropdb, createdb)")
    try:
        _fill(cursor, sql, backup, entropy(MARK_BYTES))
    except OverflowError:
        raise StateError(f"{where}: the backup has a number that no database holds; use another backup") from None
    except Refused as error:
        raise StateError(f"{where}: the backup's records do not fit together: {error}; use another backup") from None


def _fill(cursor: Any, sql: Statements, backup: Backup, mark: bytes) -> None:
    memory, revision = Memory((), {}, {}), backup.revision + 1
    for record in backup.records:
        memory.put(record)
    for kind, mapped in MAPPED.items():
        for text, values in in_bulk(sql.insert[kind], [mapped.row(record) for record in memory.find(kind)]):
            cursor.execute(text, values)
    counters = {MAPPED[kind].name: last for kind, last in backup.last_ids.items()}
    cursor.executemany(sql.put_counter, list({**counters, REVISION: revision}.items()))
    cursor.executemany(sql.put_setting, list(backup.settings.items()))
    cursor.execute(sql.add_log, (revision, 0, mark, MAPPED[User].name, _NOBODY, None))


def fill_file(path: Path, backup: Backup, entropy: Entropy, make_engine: Any, *, replace: bool) -> str:
    """Restore SQLite's file, which is locked by us; where the old one is now, if there was one with something in it."""
    engine = make_engine(path)
    with _closing(engine):
        held = path.exists() and not _is_empty_file(engine)
    if held and not replace:
        raise Conflict(FULL.format(where=path))
    new = path.with_name(f"{path.name}.restoring")
    _remove(new)
    try:
        new.touch(0o600)
        engine = make_engine(new)
        with _closing(engine), engine.begin() as connection:
            fill(connection, backup, entropy, str(path))
        _flush(new)
        aside = _set_aside(path, held)
        os.replace(new, path)
        _flush(path.parent)
    finally:
        _remove(new)
    return str(aside) if aside else ""


def _is_empty(cursor: Any, sql: Statements) -> bool:
    cursor.execute(sql.counters)
    return dict(cursor.fetchall()).get(REVISION) == 0


def _is_empty_file(engine: sa.Engine) -> bool:
    """Whether no commit was ever made there; a file that can't be read may have been somebody's."""
    try:
        with engine.connect() as connection:
            if schema.version(connection) is None:
                return not sa.inspect(connection).get_table_names()
            return _is_empty(connection.connection.cursor(), Statements(engine.dialect))
    except sa.exc.DBAPIError:
        return False


def _set_aside(path: Path, held: bool) -> Path | None:
    """Give it a second name, which is its only one as soon as the new one is renamed over it.

    Where it is gone, what a crash left beside it is moved away all the same: SQLite would add it to the new one.
    """
    aside = path.with_name(f"{path.name}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.aside")
    _remove(aside)
    if held:
        _name_too(path, aside)
    for companion in _COMPANIONS:
        with suppress(FileNotFoundError):
            os.rename(f"{path}{companion}", f"{aside}{companion}")
    return aside if held else None


def _name_too(path: Path, other: Path) -> None:
    try:
        os.link(path, other)
    except OSError:  # no second names on this file system
        os.rename(path, other)


def _remove(path: Path) -> None:
    for companion in ("", *_COMPANIONS):
        Path(f"{path}{companion}").unlink(missing_ok=True)


@contextmanager
def _closing(engine: sa.Engine) -> Iterator[None]:
    try:
        yield
    finally:
        engine.dispose()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
