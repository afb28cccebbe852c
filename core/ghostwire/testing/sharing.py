"""A database in memory that several servers share, as they share a PostgreSQL: with delays, partitions, power cuts.

    database = SharedDatabase(delay=lambda: 0.05)
    one, other = SharedStorage(database), SharedStorage(database)

It needs a running loop, best one in virtual time. Works run on the newest state, whoever wrote it; others hear of a
commit or a post after the ``delay``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ghostwire.capabilities.storage import Change, Commit, Exchange, Snapshot, Transaction
from ghostwire.errors import StateError, Unavailable
from ghostwire.model import RECORDS, Record
from ghostwire.testing.exchange import Posted, SharedExchange
from ghostwire.testing.storage import MemoryDatabase, MemoryStorage

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds without a word of a server, or to one from the database, after which it counts as gone or does not follow."""


@dataclass(slots=True)
class SharedDatabase(MemoryDatabase):
    """What all its `SharedStorage` objects have in common. ``delay`` gives the seconds until others hear of news."""

    delay: Callable[[], float] = lambda: 0.0
    posted: dict[str, Posted] = field(default_factory=dict)
    storages: list[SharedStorage] = field(default_factory=list)

    def news(self) -> None:
        """Something was written: let everybody look, in a while."""
        for storage in self.storages:
            storage.look(self.delay())


class SharedStorage(MemoryStorage):
    """One server's way to a `SharedDatabase`. `cut` and `heal` make and end a partition from it."""

    database: SharedDatabase

    def __init__(self, database: SharedDatabase, **options: Any) -> None:
        super().__init__(database, **options)
        self._exchange = SharedExchange(database.posted, database.news)
        self._following: Callable[[bool], None] = lambda following: None
        self._told = 0
        self._due: asyncio.TimerHandle | None = None
        self._losing: asyncio.TimerHandle | None = None
        self.reachable = self.following = True

    async def open(self, committed: Callable[[Commit], None]) -> Snapshot:
        """Join those who have the database open."""
        if not self.reachable:
            raise StateError("the database is out of reach")
        self.database.locked = False
        snapshot = await super().open(committed)
        self._told = snapshot.revision
        self.database.storages.append(self)
        return snapshot

    @property
    def exchange(self) -> Exchange:
        """Where all storages of this database meet."""
        return self._exchange

    def follow(self, following: Callable[[bool], None]) -> None:
        """Call this when a partition has lasted, and when it is over."""
        self._following = following

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` on the newest state; Unavailable where that has been out of reach."""
        self._check_open()
        if not self.following:
            raise Unavailable("the database is out of reach")
        return await super().write(work)

    async def log(self, after: int) -> Sequence[Commit] | None:
        """The commits after that revision."""
        if not self.reachable:
            raise Unavailable("the database is out of reach")
        return await super().log(after)

    async def compact(self, before: int) -> None:
        """Forget older log rows, for all."""
        if not self.reachable:
            raise Unavailable("the database is out of reach")
        await super().compact(before)

    def cut(self, *, unanswered: bool = False) -> None:
        """Lose the way to the database; ``unanswered``: what was being written is, but nobody is told in time."""
        if self.reachable and self._committed is not None:
            if unanswered:
                self._store()
            self.reachable = False
            self._losing = asyncio.get_running_loop().call_later(PATIENCE, self._lose)

    def heal(self) -> None:
        """Find it again."""
        if not self.reachable:
            self.reachable = True
            if self._losing is not None:
                self._losing.cancel()
            self.look(0.0)

    def look(self, delay: float) -> None:
        """See what is new in so many seconds, unless that is to be done before."""
        if self._due is None and self._committed is not None:
            self._due = asyncio.get_running_loop().call_later(delay, self._look)

    async def close(self) -> None:
        """Commit what waits; the others hear at once that this one is gone."""
        held = self._committed is not None
        await super().close()
        if held:
            self._vanish()

    def crash(self) -> None:
        """Lose power; the others hear of it after their patience."""
        if self._committed is None:
            return
        super().crash()
        self._exchange.leave()
        self.database.storages.remove(self)
        for timer in (self._due, self._losing):
            if timer is not None:
                timer.cancel()
        self._due = None
        asyncio.get_running_loop().call_later(PATIENCE, self._vanish)

    def _vanish(self) -> None:
        posted = self.database.posted.get(self._exchange.server)
        if posted is not None and not posted.gone:
            posted.gone = True
            self.database.news()

    def _lose(self) -> None:
        """The others have not heard of this one, nor it of them, for too long."""
        self._vanish()
        self.following = False
        waiting, self._waiting = self._waiting, []
        for _, done in waiting:
            if not done.done():
                done.set_exception(Unavailable("the database is out of reach"))
        self._following(False)

    def _look(self) -> None:
        self._due = None
        if self.reachable and self._committed is not None:
            self._catch_up()
            self._commit()
            self._exchange.write()
            self._exchange.read()
            if not self.following:
                self.following = True
                self._following(True)

    def _catch_up(self) -> None:
        """Tell what others wrote; where the log does not say it any more, the difference, as of now."""
        database, committed = self.database, self._committed
        assert committed is not None
        if database.oldest - 1 > self._told:
            self._told = database.revision
            committed(self._difference())
        for commit in list(database.log):
            if commit.revision > self._told:
                self._told = commit.revision
                committed(commit)

    def _difference(self) -> Commit:
        """All records as if the last revision had written them; of those that may have been, that they are gone."""
        records = self.database.records
        changes = [
            Change(kind, id_, None)
            for kind in RECORDS
            for id_ in range(1, self.database.last_ids.get(kind, 0) + 1)
            if (kind, id_) not in records
        ]
        changes += [Change(kind, id_, record) for (kind, id_), record in records.items()]
        return Commit(self.database.revision, self.database.log[-1].mark, tuple(changes))

    def _commit(self) -> None:
        if self.reachable and self._committed is not None and self._waiting:
            self._catch_up()
            super()._commit()

    def _append(self, changes: dict[tuple[type[Record], int], Record | None]) -> Commit:
        commit = super()._append(changes)
        self._told = commit.revision
        self.database.news()
        return commit

    def _store(self) -> None:
        """Commit what waits, told to nobody yet: whoever wrote it waits on, in vain if that takes too long."""
        changes: dict[tuple[type[Record], int], Record | None] = {}
        outcomes = [(done, *self._attempt(work, changes)) for work, done in self._waiting]
        told = self._told
        if changes:
            self._append(changes)
        self._told = told
        self._waiting = [(_outcome(result, error), done) for done, result, error in outcomes]


def _outcome(result: Any, error: Exception | None) -> Callable[[Transaction], Any]:
    """A work that was done already."""

    def work(transaction: Transaction) -> Any:
        if error is not None:
            raise error
        return result

    return work
