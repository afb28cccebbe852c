"""How a server keeps up with the others: it looks at the log now and then, and says when it can't any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from ghostwire_storage_sql.writer import Writer

POLL = 2.0
"""Seconds between two looks at the log, where nothing is told."""
LOST = 10.0
"""Seconds without one after which other servers' commits are not seen any more."""
TICK = 0.5
"""Seconds between two judgements."""


class Way(Protocol):
    """A way to the other servers: when it last led there (the loop's seconds), and why not since."""

    reached: float
    trouble: str


class Follower:
    """Pokes the writer, and calls ``following`` on the loop when that begins or ends to be in vain.

    Who hears of no commits, or is not heard of himself where the servers meet, serves nobody: the others take his nodes
    for gone.
    """

    def __init__(
        self, writer: Writer, meeting: Way, following: Callable[[bool], None], where: str, log: logging.Logger
    ) -> None:
        self._writer, self._ways = writer, (writer, meeting)
        self._following, self._where, self._log = following, where, log
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop looking."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        looked = loop.time()
        while True:
            await asyncio.sleep(TICK)
            if loop.time() - looked >= POLL:
                looked = loop.time()
                self._writer.poke()
            self._judge([way for way in self._ways if loop.time() - way.reached >= LOST])

    def _judge(self, lost: list[Way]) -> None:
        if (not lost) == self._writer.following:
            return
        self._writer.following = not lost
        if lost:
            self._log.error("%s: out of reach for %d s: %s", self._where, LOST, lost[0].trouble or "no answer")
        else:
            self._log.warning("%s: in reach again, and caught up with", self._where)
        self._following(not lost)
