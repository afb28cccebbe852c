"""SQLite or libSQL, whose file one server has alone: its lock, what makes it durable, what its errors mean."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ghostwire.capabilities.storage import Backup, Commit, Snapshot
from ghostwire.engine import Entropy
from ghostwire.errors import StateError
from ghostwire.system.lock import FileLock
from ghostwire_storage_sql import schema
from ghostwire_storage_sql.backup import fill_file
from ghostwire_storage_sql.database import Database

IN_USE = "another server (process {holder}) uses this state; stop it or pass --state"
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=5000",
    "cache_size=-16000",
    "temp_store=MEMORY",
)
"""Acknowledged means on disk, also after a power cut; 16 MB of pages at most; and no files but the database's own."""


class SqliteDatabase(Database):
    """SQLite at ``path``, by the driver of ``scheme`` (``sqlite+libsql``: libSQL's); ``entropy`` makes the marks."""

    def __init__(self, path: Path, entropy: Entropy, scheme: str = "sqlite") -> None:
        self._path, self.where, self.place = path, str(path), os.path.realpath(path)
        self._lock = FileLock(path.with_name(f"{path.name}.lock"), f"{path.parent}: {IN_USE}")
        self._scheme, self._engine = scheme, _engine(scheme, path)
        driver: Any = self._engine.dialect.dbapi
        self._errors = (driver.Error,) if scheme == "sqlite" else (driver.Error, ValueError)  # libSQL's are ValueErrors
        self._connection: sa.PoolProxiedConnection | None = None
        super().__init__(self._engine.dialect, entropy)

    def open(self, *, existing: bool = False) -> Snapshot:
        """Lock, migrate and read."""
        self._check_place(existing)
        self._lock.take()
        try:
            self._path.touch(0o600)
            with self._engine.begin() as connection:
                schema.prepare(connection, self.where, existing=existing)
            self._connection = self._engine.raw_connection()
            self.cursor = self._connection.cursor()
            self._check()
            return self.snapshot()
        except BaseException as error:
            self._disconnect()
            self._lock.discard()
            raise self._in_one_line(error) from None

    def close(self) -> None:
        """Give the connection and the lock back."""
        self._disconnect()
        self._lock.release()

    def restore(self, backup: Backup, *, replace: bool) -> str:
        """Fill a new file, which takes the old one's place."""
        self._check_place()
        self._lock.take()
        try:
            make = partial(_engine, self._scheme)
            return fill_file(self._path, backup, self.entropy, make, replace=replace)
        except BaseException as error:
            self._lock.discard()
            raise self._in_one_line(error) from None
        finally:
            self._lock.release()

    def told(self, error: Exception) -> Exception:
        """SQLite's errors as StateError."""
        return self._unusable(error) if isinstance(error, self._errors) else error

    def _begin(self) -> list[Commit]:
        return []

    @contextmanager
    def _storing(self, commit: Commit | None) -> Iterator[None]:
        self.cursor.execute("BEGIN IMMEDIATE")
        yield
        self.cursor.execute("COMMIT")

    def _end(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            self.cursor.execute("ROLLBACK")

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = self.cursor = None

    def _check_place(self, existing: bool = False) -> None:
        """StateError where no database can be, or is though one is to be there, before anything is made beside it."""
        try:
            found = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            if not self._path.parent.is_dir():
                raise StateError(f"{self.where}: there is no folder {self._path.parent}; make it") from None
            if existing:
                raise schema.absent(self.where) from None
        except OSError:
            return  # the lock, which is to be made there, says why
        else:
            if not stat.S_ISREG(found.st_mode):
                raise StateError(f"{self.where}: is {_kind(found.st_mode)}; name a file")
            if existing and not found.st_size:
                raise schema.absent(self.where)

    def _check(self) -> None:
        """Find damage now, not when a node runs into it."""
        found = self.cursor.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise ValueError(f"it is damaged: {found}")

    def _in_one_line(self, error: BaseException) -> BaseException:
        ours = (sa.exc.DBAPIError, *self._errors, ValueError, LookupError, OSError)
        return self._unusable(error) if isinstance(error, ours) else error

    def _unusable(self, error: BaseException) -> StateError:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        if "readonly" in cause or "unable to open" in cause or isinstance(error, OSError):
            return StateError(f"{self.where}: cannot write: {cause}; make it writable or pass --state")
        if "full" in cause:
            return StateError(f"{self.where}: cannot write: {cause}; free some space")
        if "I/O" in cause:
            return StateError(f"{self.where}: cannot be used: {cause}; is the disk full, or failing?")
        return StateError(f"{self.where}: cannot be used: {cause}; restore it from a backup")


def _kind(mode: int) -> str:
    return "a folder" if stat.S_ISDIR(mode) else "no plain file"


def _engine(scheme: str, path: Path) -> sa.Engine:
    options = {"isolation_level": None}
    engine = sa.create_engine(
        sa.URL.create(scheme, database=str(path)), poolclass=sa.pool.NullPool, connect_args=options
    )
    sa.event.listen(engine, "connect", _configure)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: Any, _record: Any) -> None:
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
