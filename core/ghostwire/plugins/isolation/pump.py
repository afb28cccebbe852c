"""Takes frames from a channel, so many in one pass of the event loop that all else has its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ghostwire.errors import RemoteProtocolError
from ghostwire.plugins.isolation.channel import Channel
from ghostwire.plugins.isolation.frames import Frame

ONE_PASS: Final = 32


class Pump:
    """``take`` is called with every frame, ``gone`` when the other side is; ``lied`` with what is wrong with it."""

    def __init__(
        self,
        channel: Channel,
        take: Callable[[Frame], object],
        gone: Callable[[], object],
        lied: Callable[[str], object],
    ) -> None:
        self._channel, self._take, self._gone, self._lied = channel, take, gone, lied
        self._again = False

    def drain(self) -> None:
        """Take what waits, and come back at the next pass where that is too much for one."""
        channel, left = self._channel, ONE_PASS
        try:
            there = channel.listen()
            while left and (frame := channel.receive()) is not None:
                self._take(frame)
                left -= 1
        except RemoteProtocolError as error:
            self._lied(str(error))
            return
        if channel.waiting:
            self._come_back()
        elif not there:
            self._gone()

    def _come_back(self) -> None:
        if not self._again:
            self._again = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._again = False
        self.drain()
