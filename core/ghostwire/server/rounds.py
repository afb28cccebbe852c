"""The pace of all that is told to many streams: in rounds, so that a burst of changes is one frame, and with pauses."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection
from time import monotonic
from typing import Protocol, TypeVar

COALESCE = 0.05
"""Seconds between two rounds."""
BACKLOG = 256 * 1024
"""Bytes unsent from which on a stream is passed over."""
ROUND, SLICE = 200, 0.01
"""Streams served, and seconds spent, before other work gets its turn."""

T = TypeVar("T")
_log = logging.getLogger("ghostwire.server")


class Reader(Protocol):
    """A stream that is told something."""

    @property
    def pending(self) -> int:
        """Bytes not yet taken by the transport."""

    def push(self, frame: bytes) -> bool:
        """Send an encoded frame; False where it was dropped."""

    def fail(self) -> None:
        """It cannot be served: hang up, so that it begins anew."""


class Rounds(ABC):
    """Serves whenever something changed. A stream that has too much unsent is passed over until it has drained."""

    def __init__(self) -> None:
        self._dirty = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.frames = 0
        self.skipped = 0

    def start(self) -> None:
        """Begin to serve."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="streams")

    async def close(self) -> None:
        """Stop; harmless when called twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def changed(self) -> None:
        """There is something to tell, or a slow stream drained."""
        self._dirty.set()

    @abstractmethod
    async def _serve(self) -> None:
        """One round."""

    async def _paced(self, items: Collection[T]) -> AsyncIterator[T]:
        """These, with pauses."""
        begun = monotonic()
        for number, item in enumerate(items, 1):
            yield item
            if number % ROUND == 0 or monotonic() - begun > SLICE:
                await asyncio.sleep(0)
                begun = monotonic()

    def _too_slow(self, reader: Reader) -> bool:
        slow = reader.pending > BACKLOG
        self.skipped += slow
        return slow

    def _broken(self, reader: Reader) -> None:
        """One stream that can't be served must not keep the others from theirs."""
        _log.exception("a stream cannot be served: internal error")
        reader.fail()

    async def _run(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._serve()
            await asyncio.sleep(COALESCE)
