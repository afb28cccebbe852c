"""One open control session: messages both ways over a channel, kept alive and given up by `Liveness`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ghostwire.driver import Driver
from ghostwire.engine import Clock
from ghostwire.errors import Unavailable
from ghostwire.node.liveness import Liveness
from ghostwire.node.parts import Channel
from ghostwire.wire.messages import Ping, Pong


class Session:
    """Sends by `send`, and hands what arrives to the function given to `converse`."""

    def __init__(self, channel: Channel, clock: Clock) -> None:
        self._channel, self._clock = channel, clock
        self._liveness = Liveness(clock.now())
        self._driver = Driver(self._liveness, clock, self._drain)
        self._patience: asyncio.Timeout | None = None

    def send(self, message: Any) -> bool:
        """Tell the server; False where the channel is clogged."""
        self._liveness.sent(self._clock.now())
        return self._channel.send(message)

    def probe(self) -> None:
        """Find out soon whether the server is still there."""
        self._liveness.probe(self._clock.now())
        self._driver.settle()

    async def converse(self, dispatch: Callable[[Any], None]) -> None:
        """Dispatch messages until the session ends, by Unavailable or whatever ``dispatch`` raises."""
        self._driver.settle()
        try:
            async with asyncio.timeout(None) as self._patience:
                while True:
                    self._take(await self._channel.receive(), dispatch)
        except TimeoutError:
            raise Unavailable("the server has gone silent") from None
        finally:
            self._driver.close()

    def _take(self, message: Any, dispatch: Callable[[Any], None]) -> None:
        self._liveness.heard(self._clock.now())
        if isinstance(message, Ping):
            self.send(Pong(number=message.number))
        elif not isinstance(message, Pong):
            dispatch(message)

    def _drain(self) -> None:
        for ping in self._liveness.drain():
            self._channel.send(ping)
        if self._liveness.dead and self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time())
