"""The capability `Storage` over one database and its writer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ghostwire import Commit, Snapshot, Storage, Transaction
from ghostwire.capabilities.storage import Backup, Exchange
from ghostwire.engine import Entropy
from ghostwire.errors import StateError, Unavailable
from ghostwire_storage_sql.database import Database
from ghostwire_storage_sql.places import database
from ghostwire_storage_sql.sharing import Shared, SharedDatabase
from ghostwire_storage_sql.writer import Writer

T = TypeVar("T")


class SqlStorage(Storage):
    """Records and change log in SQLite or PostgreSQL; durable when acknowledged, many changes a commit."""

    def __init__(self, state: Path, url: str, entropy: Entropy, log: logging.Logger) -> None:
        self._state, self._url, self._entropy, self._log = state, url, entropy, log
        self._writer: Writer | None = None
        self._shared: Shared | None = None
        self._following: Callable[[bool], None] = _ignore

    async def open(self, committed: Callable[[Commit], None]) -> Snapshot:
        """Migrate, take the lock, and read everything."""
        held = self._database()
        writer = Writer(held, committed)
        snapshot = await writer.open()
        self._writer = writer
        if isinstance(held, SharedDatabase):
            self._shared = held.share(writer, lambda following: self._following(following), self._log)
        self._log.debug("%s: revision %d, %d records", held.where, snapshot.revision, len(snapshot.records))
        return snapshot

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` in a transaction; durable when it returns."""
        result: T = await self._opened.write(work)
        return result

    async def log(self, after: int) -> Sequence[Commit] | None:
        """The commits after that revision, or None where they are no longer all kept."""
        commits: Sequence[Commit] | None = await self._opened.read(lambda database: database.log(after))
        return commits

    async def mark(self, revision: int) -> bytes | None:
        """The random mark of that revision, or None where it is not kept."""
        mark: bytes | None = await self._opened.read(lambda database: database.mark(revision))
        return mark

    async def compact(self, before: int) -> None:
        """Forget log rows of revisions before that one."""

        def work(database: Any) -> None:
            database.compact(before)

        await self._opened.read(work)

    async def backup(self) -> Backup:
        """Everything as of the last commit; of a storage that is not open, while nobody has it open."""
        if self._writer is not None:
            everything: Backup = await self._writer.read(lambda database: database.backup())
            return everything
        return await asyncio.to_thread(self._backup_closed)

    async def restore(self, backup: Backup, *, replace: bool = False) -> str:
        """Fill an empty database, or one in place of the old, which is renamed."""
        if self._writer is not None:
            raise StateError("the storage is open; stop the server first")
        return await asyncio.to_thread(self._database().restore, backup, replace=replace)

    def _backup_closed(self) -> Backup:
        held = self._database()
        held.open(existing=True)
        try:
            held.claim()
            return held.backup()
        finally:
            held.close()

    @property
    def place(self) -> str:
        """The file without links, or the database."""
        return self._database().place

    @property
    def exchange(self) -> Exchange | None:
        """Where the servers of a PostgreSQL meet."""
        return self._shared.exchange if self._shared is not None else None

    def follow(self, following: Callable[[bool], None]) -> None:
        """Call this when PostgreSQL is out of reach, and when it is back."""
        self._following = following

    async def close(self) -> None:
        """Finish what was begun; harmless when called twice."""
        if self._shared is not None:
            await self._shared.close()
        if self._writer is not None:
            await self._writer.close()

    def _database(self) -> Database:
        return database(self._url, self._state, self._entropy)

    @property
    def _opened(self) -> Writer:
        if self._writer is None:
            raise Unavailable("the storage is not open")
        return self._writer


def _ignore(following: bool) -> None:
    return
