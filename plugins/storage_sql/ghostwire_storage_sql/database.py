"""The database of one server: opened, migrated and read whole; then commits of batches and reads of the log.

Everything here blocks and belongs to the writer's thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ghostwire.capabilities.storage import Change, Commit, Snapshot
from ghostwire.engine import Entropy
from ghostwire.errors import StateError
from ghostwire.model import Record, pack, unpacker
from ghostwire.system.lock import FileLock
from ghostwire_storage_sql import schema
from ghostwire_storage_sql.memory import Memory, Place
from ghostwire_storage_sql.statements import REVISION, Statements, in_bulk
from ghostwire_storage_sql.tables import BY_NAME, MAPPED

MARK_BYTES = 8
IN_USE = "another server (process {holder}) uses this state; stop it or pass --state"
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000", "cache_size=-16000")
"""Acknowledged means on disk, also after a power cut; and 16 MB of pages at most."""

Changes = Mapping[Place, Record | None]
Work = Callable[[Memory], Any]
Read = Callable[["Database"], Any]
Outcome = tuple[Any, Exception | None]

_decoders = {name: unpacker(mapped.kind) for name, mapped in BY_NAME.items()}


class Database:
    """SQLite at ``path``; ``entropy`` makes the marks."""

    def __init__(self, path: Path, entropy: Entropy) -> None:
        self._path, self._entropy = path, entropy
        self._lock = FileLock(path.with_name(f"{path.name}.lock"), f"{path.parent}: {IN_USE}")
        self._engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.pool.NullPool)
        sa.event.listen(self._engine, "connect", _configure)
        sa.event.listen(self._engine, "begin", _begin)
        self._sql = Statements(self._engine.dialect)
        self._driver: Any = self._engine.dialect.dbapi
        self._connection: sa.PoolProxiedConnection | None = None
        self._cursor: Any = None
        self._memory: Memory
        self._revision = 0

    def open(self) -> Snapshot:
        """Lock, migrate and read; StateError in one line where any of it can't be done."""
        self._lock.take()
        try:
            self._path.touch(0o600)
            with self._engine.begin() as connection:
                schema.prepare(connection, str(self._path))
            self._connection = self._engine.raw_connection()
            self._cursor = self._connection.cursor()
            self._check()
            return self._snapshot()
        except BaseException as error:
            self.close()
            if isinstance(error, (sa.exc.DBAPIError, self._driver.Error, ValueError, LookupError, OSError)):
                raise self._unusable(error) from None
            raise

    def close(self) -> None:
        """Give the connection and the lock back; harmless when called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = self._cursor = None
        self._lock.release()

    def commit(self, works: Sequence[Work]) -> tuple[Commit | None, list[Outcome]]:
        """Run the works and commit those that did not raise; all fail where storing them does."""
        memory = self._memory
        outcomes = [self._run(work) for work in works]
        try:
            commit = self._store() if memory.journal or memory.changed_counters else None
        except Exception as error:
            memory.undo()
            self._roll_back()
            return None, [(None, self._told(error))] * len(works)
        finally:
            memory.settle()
        self._revision = commit.revision if commit else self._revision
        return commit, outcomes

    def read(self, read: Read) -> Outcome:
        """Run a read; its result, or why there is none."""
        try:
            return read(self), None
        except Exception as error:
            return None, self._told(error)

    def log(self, after: int) -> list[Commit] | None:
        """The commits after that revision; None where they are no longer all kept."""
        if not self._oldest() - 1 <= after <= self._revision:
            return None
        found: dict[int, tuple[bytes, list[Change]]] = {}
        for revision, mark, kind, id_, blob in self._cursor.execute(self._sql.read_log, (after,)):
            record = _decoders[kind].decode(blob) if blob is not None else None
            found.setdefault(revision, (mark, []))[1].append(Change(BY_NAME[kind].kind, id_, record))
        return [Commit(revision, mark, tuple(changes)) for revision, (mark, changes) in found.items()]

    def mark(self, revision: int) -> bytes | None:
        """The mark of that revision, or None where it is not kept."""
        row = self._cursor.execute(self._sql.mark, (revision,)).fetchone()
        return row[0] if row else None

    def compact(self, before: int) -> None:
        """Forget log rows before that revision; the newest revision's always stay."""
        self._cursor.execute(self._sql.compact, (min(before, self._revision),))

    def _run(self, work: Work) -> Outcome:
        before = len(self._memory.journal)
        try:
            return work(self._memory), None
        except Exception as error:
            self._memory.undo(before)
            return None, error

    def _store(self) -> Commit | None:
        memory, sql = self._memory, self._sql
        self._cursor.execute("BEGIN IMMEDIATE")
        self._store_records(memory.changes)
        self._cursor.executemany(sql.put_setting, list(memory.changed_settings.items()))
        self._cursor.executemany(sql.put_counter, list(memory.changed_counters.items()))
        commit = self._record(memory.changes) if memory.changes else None
        self._cursor.execute("COMMIT")
        return commit

    def _store_records(self, changes: Changes) -> None:
        """Old rows go before new ones come, so that a unique value may pass from one to the other."""
        for kind, mapped in MAPPED.items():
            changed = {id_: record for (of, id_), record in changes.items() if of is kind}
            self._execute(self._sql.delete[kind], [(id_,) for id_ in changed])
            rows = [mapped.row(record) for record in changed.values() if record is not None]
            self._execute(self._sql.insert[kind], rows)

    def _execute(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        for text, values in in_bulk(statement, rows):
            self._cursor.execute(text, values)

    def _record(self, changes: Changes) -> Commit:
        revision, mark = self._cursor.execute(self._sql.next_revision).fetchone()[0], self._entropy(MARK_BYTES)
        listed = tuple(Change(kind, id_, record) for (kind, id_), record in changes.items())
        rows = [
            (revision, position, mark, MAPPED[change.kind].name, change.id, change.record and pack(change.record))
            for position, change in enumerate(listed)
        ]
        self._execute(self._sql.add_log, rows)
        return Commit(revision, mark, listed)

    def _check(self) -> None:
        """Find damage now, not when a node runs into it."""
        found = self._cursor.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise ValueError(f"it is damaged: {found}")

    def _snapshot(self) -> Snapshot:
        records = [
            mapped.record(row)
            for kind, mapped in MAPPED.items()
            for row in self._cursor.execute(self._sql.all[kind]).fetchall()
        ]
        counters = dict(self._cursor.execute(self._sql.counters).fetchall())
        self._revision = counters.pop(REVISION)
        self._memory = Memory(records, dict(self._cursor.execute(self._sql.settings).fetchall()), counters)
        return Snapshot(self._revision, self.mark(self._revision) or b"", self._oldest(), tuple(records))

    def _oldest(self) -> int:
        oldest: int | None = self._cursor.execute(self._sql.oldest).fetchone()[0]
        return self._revision + 1 if oldest is None else oldest

    def _roll_back(self) -> None:
        try:
            self._cursor.execute("ROLLBACK")
        except self._driver.Error:
            return  # the database has already done so

    def _told(self, error: Exception) -> Exception:
        """The error as its caller gets it: the database's own in one line for people."""
        return self._unusable(error) if isinstance(error, self._driver.Error) else error

    def _unusable(self, error: BaseException) -> StateError:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        if "readonly" in cause or "unable to open" in cause or isinstance(error, OSError):
            return StateError(f"{self._path}: cannot write: {cause}; make it writable or pass --state")
        if "full" in cause:
            return StateError(f"{self._path}: cannot write: {cause}; free some space")
        if "I/O" in cause:
            return StateError(f"{self._path}: cannot be used: {cause}; is the disk full, or failing?")
        return StateError(f"{self._path}: cannot be used: {cause}; restore it from a backup")


def _configure(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def sqlite_path(url: str, state: Path) -> Path:
    """Where the database is; StateError for what is not SQLite."""
    if not url:
        return state / "ghostwire.db"
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise StateError(
            f"[plugin.storage_sql] url: {url!r} is not a database URL; try sqlite:////path/to/file"
        ) from None
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        shown = parsed.render_as_string(hide_password=True)
        raise StateError(f"[plugin.storage_sql] url: {shown}: only sqlite:////path/to/file is supported")
    return Path(os.path.abspath(parsed.database))
