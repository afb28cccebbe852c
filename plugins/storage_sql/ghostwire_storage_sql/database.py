"""The database of one server: opened, migrated and read whole; then commits of batches and reads of the log.

Everything here blocks and belongs to the writer's thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ghostwire.capabilities.storage import Change, Commit, Snapshot
from ghostwire.engine import Entropy
from ghostwire.errors import StateError
from ghostwire.model import pack, unpacker
from ghostwire_storage_sql import schema
from ghostwire_storage_sql.lock import Lock
from ghostwire_storage_sql.statements import REVISION, Statements
from ghostwire_storage_sql.tables import BY_NAME, MAPPED
from ghostwire_storage_sql.transaction import Changes, SqlTransaction, next_number

MARK_BYTES = 8
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000", "cache_size=-16000")
"""Acknowledged means on disk, also after a power cut; and 16 MB of pages at most."""

Work = Callable[[SqlTransaction], Any]
Outcome = tuple[Any, Exception | None]

_decoders = {name: unpacker(mapped.kind) for name, mapped in BY_NAME.items()}


class Database:
    """SQLite at ``path``; ``entropy`` makes the marks."""

    def __init__(self, path: Path, entropy: Entropy) -> None:
        self._path, self._entropy = path, entropy
        self._lock = Lock(path.with_name(f"{path.name}.lock"))
        self._engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.pool.NullPool)
        sa.event.listen(self._engine, "connect", _configure)
        sa.event.listen(self._engine, "begin", _begin)
        self._sql = Statements(self._engine.dialect)
        self._driver: Any = self._engine.dialect.dbapi
        self._connection: sa.PoolProxiedConnection | None = None
        self._cursor: Any = None

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
            if isinstance(error, (sa.exc.DBAPIError, self._driver.Error, ValueError, OSError)):
                raise self._unusable(error) from None
            raise

    def close(self) -> None:
        """Give the connection and the lock back; harmless when called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = self._cursor = None
        self._lock.release()

    def commit(self, works: Sequence[Work]) -> tuple[Commit | None, list[Outcome]]:
        """Run the works and commit those that did not raise; all fail where the database itself does."""
        try:
            self._cursor.execute("BEGIN IMMEDIATE")
            changes: Changes = {}
            outcomes = [self._run(work, changes) for work in works]
            commit = self._record(changes) if changes else None
            self._cursor.execute("COMMIT")
        except self._driver.Error as error:
            self._roll_back()
            return None, [(None, self._unusable(error))] * len(works)
        return commit, outcomes

    def log(self, after: int) -> list[Commit] | None:
        """The commits after that revision; None where they are no longer all kept."""
        if not self._oldest() - 1 <= after <= self._revision():
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
        self._cursor.execute(self._sql.compact, (min(before, self._revision()),))

    def _run(self, work: Work, changes: Changes) -> Outcome:
        transaction = SqlTransaction(self._cursor, self._sql, self._driver.IntegrityError)
        try:
            result = work(transaction)
        except self._driver.Error:
            raise
        except Exception as error:
            transaction.undo()
            return None, error
        transaction.keep()
        changes.update(transaction.changes)
        return result, None

    def _record(self, changes: Changes) -> Commit:
        revision, mark = next_number(self._cursor, self._sql, REVISION), self._entropy(MARK_BYTES)
        listed = tuple(Change(kind, id_, record) for (kind, id_), record in changes.items())
        rows = [
            (revision, position, mark, MAPPED[change.kind].name, change.id, change.record and pack(change.record))
            for position, change in enumerate(listed)
        ]
        self._cursor.executemany(self._sql.add_log, rows)
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
        revision = self._revision()
        return Snapshot(revision, self.mark(revision) or b"", self._oldest(), tuple(records))

    def _revision(self) -> int:
        row = self._cursor.execute(self._sql.revision).fetchone()
        if row is None:
            raise ValueError("its counters are missing")
        number: int = row[0]
        return number

    def _oldest(self) -> int:
        oldest: int | None = self._cursor.execute(self._sql.oldest).fetchone()[0]
        return self._revision() + 1 if oldest is None else oldest

    def _roll_back(self) -> None:
        try:
            self._cursor.execute("ROLLBACK")
        except self._driver.Error:
            return  # the database has already done so

    def _unusable(self, error: BaseException) -> StateError:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        if "readonly" in cause or "unable to open" in cause or isinstance(error, OSError):
            return StateError(f"{self._path}: cannot write: {cause}; make it writable or pass --state")
        if "full" in cause:
            return StateError(f"{self._path}: cannot write: {cause}; free some space")
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
