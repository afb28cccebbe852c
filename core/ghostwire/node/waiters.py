"""Those who wait for one outcome: that the node runs, say, or that the network was looked at."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from ghostwire.errors import GhostwireError

T = TypeVar("T")


class Waiters(Generic[T]):
    """Any number of tasks that wait for the same."""

    def __init__(self) -> None:
        self._futures: set[asyncio.Future[T]] = set()

    async def wait(self, timeout: float | None = None) -> T:
        """What `succeed` is given; raises what `fail` was given, TimeoutError after ``timeout`` seconds."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._futures.add(future)
        try:
            async with asyncio.timeout(timeout):
                return await future
        finally:
            self._futures.discard(future)

    def succeed(self, outcome: T) -> None:
        """What they wait for has come."""
        for future in self._futures:
            if not future.done():
                future.set_result(outcome)

    def fail(self, error: GhostwireError) -> bool:
        """It won't come, and this is why; whether anyone was told."""
        waiting = [future for future in self._futures if not future.done()]
        for future in waiting:
            future.set_exception(error)
        return bool(waiting)
