"""Those who wait until the node runs, or until it is clear that it won't."""

from __future__ import annotations

import asyncio

from ghostwire.errors import GhostwireError


class Waiters:
    """Any number of tasks that wait for one outcome."""

    def __init__(self) -> None:
        self._futures: set[asyncio.Future[None]] = set()

    async def wait(self, timeout: float | None) -> None:
        """Until `succeed`; raises what `fail` was given, TimeoutError after ``timeout`` seconds."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures.add(future)
        try:
            async with asyncio.timeout(timeout):
                await future
        finally:
            self._futures.discard(future)

    def succeed(self) -> None:
        """What they wait for has come."""
        for future in self._futures:
            if not future.done():
                future.set_result(None)

    def fail(self, error: GhostwireError) -> bool:
        """It won't come, and this is why; whether anyone was told."""
        waiting = [future for future in self._futures if not future.done()]
        for future in waiting:
            future.set_exception(error)
        return bool(waiting)
