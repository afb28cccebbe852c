"""The one thread that touches the database: whatever waits is committed together, then acknowledged together."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from ghostwire.capabilities.storage import Commit, Snapshot
from ghostwire.errors import Unavailable
from ghostwire_storage_sql.database import Database, Outcome, Read, Work

BATCH = 512
"""At most so many works share a commit."""
MANY, GATHER = 4, 0.004
"""After a commit of so many works the next waits so many seconds for more: each commit costs a busy loop more of the
interpreter than that wait costs its works."""

Future = asyncio.Future[Any]


class Writer:
    """Runs works in the order they came; ``committed`` is called on the loop before their futures resolve.

    ``reached`` is when the log was last seen to its end (the loop's seconds), ``trouble`` why not since. Where
    ``following`` is set to False, works are refused.
    """

    def __init__(self, database: Database, committed: Callable[[Commit], None]) -> None:
        self._database, self._committed = database, committed
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[tuple[Work | None, Read | None, Future]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="storage", daemon=True)
        self._opened: asyncio.Future[Snapshot] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._closing = self._poked = False
        self.following, self.reached, self.trouble = True, self._loop.time(), ""

    async def open(self) -> Snapshot:
        """Start the thread and open the database in it."""
        self._thread.start()
        snapshot = await self._opened
        self.reached = self._loop.time()  # opening may take long: a migration, or another server's
        return snapshot

    async def write(self, work: Work) -> Any:
        """The work's result, once it is durable."""
        if not self.following:
            raise Unavailable(self.trouble or "the database is out of reach")
        return await self._enqueue(work, None)

    async def read(self, read: Read) -> Any:
        """Something that needs no transaction, after all that was queued before it."""
        return await self._enqueue(None, read)

    def poke(self) -> None:
        """Look for other servers' commits, soon."""
        if not (self._poked or self._closing):
            self._poked = True
            self._queue.put((None, _follow, self._loop.create_future()))

    async def close(self) -> None:
        """Finish what waits, then end the thread."""
        if not self._closing:
            self._closing = True
            self._queue.put((None, None, self._loop.create_future()))
        await self._ended.wait()
        self._thread.join()

    def _enqueue(self, work: Work | None, read: Read | None) -> Future:
        if self._closing:
            raise Unavailable("the storage is closed")
        future: Future = self._loop.create_future()
        self._queue.put((work, read, future))
        return future

    def _run(self) -> None:
        try:
            snapshot = self._database.open()
        except Exception as error:
            self._post(_resolve, self._opened, (None, error))
        else:
            self._post(_resolve, self._opened, (snapshot, None))
            self._work()
        finally:
            self._post(self._ended.set)

    def _work(self) -> None:
        try:
            while self._serve():
                continue
        finally:
            self._database.close()

    def _serve(self) -> bool:
        works: list[tuple[Work, Future]] = []
        work, read, future = self._queue.get()
        while work is not None:
            works.append((work, future))
            if len(works) == BATCH or self._queue.empty():
                break
            work, read, future = self._queue.get()
        if works:
            self._commit(works)
        if read is _follow:
            self._follow()
        elif work is None and read is not None:
            self._post(_resolve, future, self._database.read(read))
        return work is not None or read is not None

    def _follow(self) -> None:
        self._poked = False
        commits, error = self._database.read(_follow)
        if error is None:
            self._post(self._deliver, commits, [], [])
        self._post(self._look, error)

    def _look(self, error: Exception | None) -> None:
        self.trouble = str(error or "")
        if error is None:
            self.reached = self._loop.time()

    def _commit(self, works: list[tuple[Work, Future]]) -> None:
        commits, outcomes = self._database.commit([work for work, _ in works])
        self._post(self._deliver, commits, [future for _, future in works], outcomes)
        if len(works) >= MANY:
            time.sleep(GATHER)

    def _deliver(self, commits: list[Commit], futures: list[Future], outcomes: list[Outcome]) -> None:
        try:
            for commit in commits:
                self._committed(commit)
        finally:  # whatever a follower makes of it, it is stored
            for future, outcome in zip(futures, outcomes, strict=True):
                _resolve(future, outcome)

    def _post(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            return  # the loop is closed: nobody is left to be told


def _follow(database: Database) -> list[Commit]:
    return database.follow()


def _resolve(future: Future, outcome: Outcome) -> None:
    result, error = outcome
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
