"""A steady stream of requests from one node to another, which shows how long it was interrupted.

async with Pulse(alice, bob) as pulse:
    mesh.network.block(alice.host, bob.host)
    await asyncio.sleep(10)
    assert pulse.gap() < 2.5
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from types import TracebackType
from typing import Self

from ghostwire.engine import SECOND
from ghostwire.errors import GhostwireError
from ghostwire.testing.members import MemoryNode

PATIENCE = 5.0
"""Seconds after which an answer counts for nothing."""


class Pulse:
    """An async context in which ``asker`` sends an echo to ``answerer`` every so many seconds."""

    def __init__(self, asker: MemoryNode, answerer: MemoryNode, *, every: float = 0.05) -> None:
        self._asker, self._address, self._every = asker, answerer.addresses[0], every
        self._loop = asyncio.get_running_loop()
        self._asking: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self.answers: list[tuple[float, float]] = []
        """When each answer came, and its round trip; virtual seconds."""
        self.asked = 0
        self._began = 0.0

    async def __aenter__(self) -> Self:
        self._began = self._loop.time()
        self._task = asyncio.create_task(self._beat())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Ask no more; harmless when called twice."""
        assert self._task is not None
        tasks = (self._task, *self._asking)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def gap(self, since: float | None = None, until: float | None = None) -> float:
        """The longest time without an answer, between two of the loop's times (None: the beginning, now)."""
        begin, end = since if since is not None else self._began, until if until is not None else self._loop.time()
        times = [begin, *(at for at, _ in self.answers if begin <= at <= end), end]
        return max(later - earlier for earlier, later in itertools.pairwise(times))

    @property
    def lost(self) -> int:
        """Requests without an answer so far."""
        return self.asked - len(self.answers)

    async def _beat(self) -> None:
        while True:
            task = asyncio.create_task(self._ask())
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
            await asyncio.sleep(self._every)

    async def _ask(self) -> None:
        self.asked += 1
        with contextlib.suppress(GhostwireError):
            took = await self._asker.device.ping(self._address, timeout=PATIENCE)
            self.answers.append((self._loop.time(), took / SECOND))
