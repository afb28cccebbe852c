"""How a server keeps up with the others: it looks at the log now and then, and says when it can't any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ghostwire_storage_sql.writer import Writer

POLL = 2.0
"""Seconds between two looks at the log, where nothing is told."""
LOST = 10.0
"""Seconds without one after which other servers' commits are not seen any more."""
TICK = 0.5
"""Seconds between two judgements."""


class Follower:
    """Pokes the writer, and calls ``following`` on the loop when that begins or ends to be in vain."""

    def __init__(self, writer: Writer, following: Callable[[bool], None], where: str, log: logging.Logger) -> None:
        self._writer, self._following, self._where, self._log = writer, following, where, log
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
            self._judge(loop.time() - self._writer.reached < LOST)

    def _judge(self, reached: bool) -> None:
        writer = self._writer
        if reached == writer.following:
            return
        writer.following = reached
        if reached:
            self._log.warning("%s: in reach again, and caught up with", self._where)
        else:
            self._log.error("%s: out of reach for %d s: %s", self._where, LOST, writer.trouble or "no answer")
        self._following(reached)
