"""Waits for what a plugin does, but not for ever, whether it can be cancelled or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from ghostwire.errors import Unavailable

MOST_STRAYS: Final = 3
"""Tasks of one plugin that go on though they were cancelled; each holds what it holds."""


class Patience:
    """Of one plugin's calls."""

    def __init__(self) -> None:
        self._strays: set[asyncio.Task[None]] = set()

    @property
    def exhausted(self) -> bool:
        """Whether so many calls never ended that there may be no more."""
        return len(self._strays) >= MOST_STRAYS

    async def within(self, seconds: float, call: Callable[[], Awaitable[object]], what: str) -> None:
        """Await the call; raises what it raises, Unavailable where it takes longer than that."""
        task = asyncio.get_running_loop().create_task(_run(call))
        try:
            await asyncio.wait((task,), timeout=seconds)
        except asyncio.CancelledError:
            self._leave(task)
            raise
        if not task.done():
            self._leave(task)
            await asyncio.sleep(0)
            raise Unavailable(f"{what} did not return within {seconds:g} s")
        if task.cancelled():
            raise Unavailable(f"{what} cancelled itself")
        task.result()

    def _leave(self, task: asyncio.Task[None]) -> None:
        """Cancel it, and note it for as long as it goes on all the same."""
        task.cancel()
        self._strays.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._strays.discard(task)
        if not task.cancelled():
            task.exception()  # nobody asks any more, so that asyncio need not complain


async def _run(call: Callable[[], Awaitable[object]]) -> None:
    """SystemExit in a task would end the event loop."""
    try:
        await call()
    except SystemExit as error:
        raise RuntimeError(f"SystemExit({error.code})").with_traceback(error.__traceback__) from None
