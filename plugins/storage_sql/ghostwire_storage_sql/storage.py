"""The capability `Storage` over one database and its writer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ghostwire import Commit, Snapshot, Storage, Transaction
from ghostwire.engine import Entropy
from ghostwire.errors import Unavailable
from ghostwire_storage_sql.database import Database, sqlite_path
from ghostwire_storage_sql.writer import Writer

T = TypeVar("T")


class SqlStorage(Storage):
    """Records and change log in SQLite; durable when acknowledged, many changes a commit."""

    def __init__(self, state: Path, url: str, entropy: Entropy, log: logging.Logger) -> None:
        self._state, self._url, self._entropy, self._log = state, url, entropy, log
        self._writer: Writer | None = None

    async def open(self, committed: Callable[[Commit], None]) -> Snapshot:
        """Migrate, take the lock, and read everything."""
        path = sqlite_path(self._url, self._state)
        writer = Writer(Database(path, self._entropy), committed)
        snapshot = await writer.open()
        self._writer = writer
        self._log.debug("%s: revision %d, %d records", path, snapshot.revision, len(snapshot.records))
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

    async def close(self) -> None:
        """Finish what was begun; harmless when called twice."""
        if self._writer is not None:
            await self._writer.close()

    @property
    def _opened(self) -> Writer:
        if self._writer is None:
            raise Unavailable("the storage is not open")
        return self._writer
