"""Where the servers of one PostgreSQL meet: their entries in a table, and one connection that is told of all news.

Each server writes its own rows alone, without the lock of commits. A row that was erased stays for a while without a
body; a server whose reader comes later than that (`since`) is read whole.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import psycopg

from ghostwire.capabilities.storage import MAX_ENTRY, Notice
from ghostwire_storage_sql import posts
from ghostwire_storage_sql.link import ANSWER, LIMITS, Target, explained, limits
from ghostwire_storage_sql.postgres import CHANNEL, PAUSES
from ghostwire_storage_sql.sharing import ClosingExchange

BEAT = 2.0
"""Seconds between two heartbeats, and two looks at the others'."""
GATHER = 0.05
"""Seconds between two rounds at least: what is posted meanwhile goes together."""
BURIAL = 60.0
"""Seconds that an erased entry's row stays at least."""
FAREWELL = 3.0
"""Seconds that leaving may take."""
SWEEP = 3600.0
"""Seconds between two removals of servers that are gone for a day."""

Connection = psycopg.AsyncConnection[Any]


class Meeting(ClosingExchange):
    """The exchange over a connection of its own, on the loop. ``poke`` is called for each commit of another server's;
    ``name`` is what our own commits are told under. ``reached`` is when we last met the others (the loop's seconds),
    ``trouble`` why not since."""

    def __init__(self, target: Target, name: str, poke: Callable[[], None], log: logging.Logger) -> None:
        self._target, self._name, self._poke, self._log = target, name, poke, log
        self._server = ""
        self._heard: Callable[[Notice], None] = _ignore
        self._own: dict[str, bytes] = {}
        self._news: dict[str, bytes | None] = {}
        self._counter = self._since = self._buried = 0
        self._known: dict[str, int] = {}
        self._wake, self._ending, self._whole = asyncio.Event(), False, True
        self._next_burial = self._next_sweep = 0.0
        self._loop = asyncio.get_running_loop()
        self.reached, self.trouble = self._loop.time(), ""
        self._task = asyncio.create_task(self._run())

    def join(self, server: str, heard: Callable[[Notice], None]) -> None:
        """Begin as this server."""
        self._server, self._heard = server, heard
        self._wake.set()

    def post(self, counter: int, entries: Mapping[str, bytes | None]) -> None:
        """Keep them for the next round; ValueError where one is too large."""
        if any(body is not None and len(body) > MAX_ENTRY for body in entries.values()):
            raise ValueError(f"an entry has more than {MAX_ENTRY} bytes")
        for key, body in entries.items():
            self._news[key] = body
            if body is None:
                self._own.pop(key, None)
            else:
                self._own[key] = body
        self._counter = max(self._counter, counter)
        self._wake.set()

    async def close(self) -> None:
        """Leave, so that the others know at once."""
        self._ending = True
        self._wake.set()
        await asyncio.wait({self._task}, timeout=FAREWELL)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        attempt = 0
        while not self._ending:
            began = time.monotonic()
            try:
                await self._meet()
            except (psycopg.Error, OSError, TimeoutError) as error:
                self.trouble = f"the other servers cannot be met: {explained(error) if str(error) else 'no answer'}"
                self._log.debug("%s: %s", self._target.where, self.trouble)
            attempt = 0 if time.monotonic() - began > BEAT else attempt + 1
            if not self._ending:
                await asyncio.sleep(PAUSES[min(attempt, len(PAUSES) - 1)])

    async def _meet(self) -> None:
        """Connect, and go on until the connection is lost or we leave."""
        async with asyncio.timeout(ANSWER):
            connection: Connection = await psycopg.AsyncConnection.connect(autocommit=True, **self._target.parameters)
        try:
            await self._begin(connection)
            while not self._ending:
                async with asyncio.timeout(ANSWER):
                    await self._round(connection)
                self.reached = self._loop.time()
                await self._pause(connection)
            await self._leave(connection)
        finally:
            await connection.close()

    async def _begin(self, connection: Connection) -> None:
        async with asyncio.timeout(ANSWER):
            await connection.execute(limits(), list(LIMITS.values()))
            await connection.execute("SET synchronous_commit = off")  # what is lost is posted again as a whole
            for channel in (CHANNEL, posts.CHANNEL):
                await connection.execute(f"LISTEN {channel}")
        connection.add_notify_handler(lambda told: self._told(told.channel, told.payload))
        self._whole = True
        self._poke()  # whatever was committed before we listened

    async def _round(self, connection: Connection) -> None:
        """Write what is new here, and read what is new elsewhere."""
        self._wake.clear()
        if not self._server:
            return
        if not self._whole and not await self._tell(connection):
            self._whole = True
        if self._whole:
            await self._tell_all(connection)
        rows = await (await connection.execute(posts.READ, self._asked())).fetchall()
        for notice in posts.notices(rows, self._known):
            self._heard(notice)

    async def _tell(self, connection: Connection) -> bool:
        """A heartbeat, with what was posted since the last; False where our row is gone."""
        news, counter = self._news, self._counter
        self._news = {}
        self._bury()
        async with connection.transaction():
            beat = (counter, self._since, self._server)
            if (await connection.execute(posts.BEAT, beat)).rowcount == 0:
                return False
            await connection.execute(posts.BURY, (self._server, self._since))
            if news:
                await connection.execute(posts.WRITE, (self._server, counter, list(news), list(news.values())))
                await connection.execute(posts.NOTIFY, (self._server,))
        return True

    async def _tell_all(self, connection: Connection) -> None:
        """Everything anew: others that know less than that read it whole."""
        counter, own = self._counter, dict(self._own)
        self._news = {}
        self._since = self._buried = counter
        async with connection.transaction():
            await connection.execute(posts.REMOVE, (self._server,))
            await connection.execute(posts.APPEAR, (self._server, counter, counter))
            await connection.execute(posts.WRITE, (self._server, counter, list(own), list(own.values())))
            await connection.execute(posts.NOTIFY, (self._server,))
        self._whole = False
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + SWEEP
            await connection.execute(posts.SWEEP)

    async def _leave(self, connection: Connection) -> None:
        if self._server:
            async with connection.transaction():
                await connection.execute(posts.REMOVE, (self._server,))
                await connection.execute(posts.NOTIFY, (self._server,))

    async def _pause(self, connection: Connection) -> None:
        """Until there is something to write or to read, or a heartbeat is due; commits are told at once meanwhile."""
        soonest, latest = time.monotonic() + GATHER, time.monotonic() + BEAT
        while not self._ending and (now := time.monotonic()) < latest:
            if self._wake.is_set() and now >= soonest:
                return
            await self._readable(connection, (soonest if self._wake.is_set() else latest) - now)

    async def _readable(self, connection: Connection, seconds: float) -> None:
        """Wait for the connection or, unless that is so already, for a wake-up; hand on what was notified."""
        arrived, descriptor = asyncio.Event(), connection.fileno()
        self._loop.add_reader(descriptor, arrived.set)
        events = [arrived] if self._wake.is_set() else [arrived, self._wake]
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._loop.remove_reader(descriptor)
            for wait in waits:
                wait.cancel()
        if arrived.is_set():
            self._drain(connection)

    def _drain(self, connection: Connection) -> None:
        connection.pgconn.consume_input()
        while (told := connection.pgconn.notifies()) is not None:
            self._told(told.relname.decode(), told.extra.decode())

    def _told(self, channel: str, payload: str) -> None:
        if channel == CHANNEL and payload != self._name:
            self._poke()
        elif channel == posts.CHANNEL and payload != self._server:
            self._wake.set()

    def _asked(self) -> dict[str, Any]:
        known = self._known
        return {"own": self._server, "known": list(known), "heard": list(known.values()), "gone": posts.GONE}

    def _bury(self) -> None:
        """Erased entries that stood for a whole interval need not be told any more."""
        if time.monotonic() >= self._next_burial:
            self._next_burial = time.monotonic() + BURIAL
            self._since, self._buried = self._buried, self._counter


def _ignore(notice: Notice) -> None:
    return
