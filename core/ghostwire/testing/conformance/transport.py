"""Any installed transport, judged over loopback: its sockets are watched, lost and attacked, and its peers hang."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ghostwire.capabilities.transport import Path, Transport
from ghostwire.testing.conformance.installed import OfInstalled
from ghostwire.testing.conformance.surroundings import LoopbackSockets, pour, transport_context
from ghostwire.testing.contracts.transport import Inbox, TransportContract

T = TypeVar("T")


@dataclass
class Surroundings:
    """What one transport of a rule has around it; ``reasons`` is what it told `TransportContext.failed`."""

    sockets: LoopbackSockets = field(default_factory=LoopbackSockets)
    reasons: list[str] = field(default_factory=list)


class OwnLoop:
    """A loop in a thread of its own, which can be made to stand still."""

    def __init__(self) -> None:
        self._loop, self._goes_on = asyncio.new_event_loop(), threading.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="a peer that hangs")
        self._thread.start()

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def stand_still(self) -> None:
        """Until it is closed."""
        self._loop.call_soon_threadsafe(self._goes_on.wait)

    async def close(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Go on, do this last, and end."""
        self._goes_on.set()
        await self.call(work())
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()


class InstalledTransport(OfInstalled, TransportContract):
    """A transport over loopback. An author may subclass it: to say how often it speaks by itself (`keepalive`), or what
    it can't go on without (`take_away`, by `lose_sockets` for one that has UDP sockets alone)."""

    def __init__(self) -> None:
        self._around: dict[int, Surroundings] = {}

    async def make(self) -> Transport:
        """One more node's."""
        around = Surroundings()
        settings, failed = self.subject.settings, around.reasons.append
        context = transport_context(settings, self.folder(), sockets=around.sockets, failed=failed)
        made: Transport = self.subject.create(context)
        self._around[id(made)] = around
        return made

    def spoken(self) -> int:
        """What all their sockets sent."""
        return sum(around.sockets.spoken() for around in self._around.values())

    async def strangers(self, transport: Transport, rubbish: Sequence[bytes]) -> None:
        """At all its ports."""
        import pytest

        if not await self._around[id(transport)].sockets.throw(rubbish):
            pytest.skip("it opens no port: strangers cannot reach it")

    async def pour(self, transport: Transport, junk: bytes, times: int) -> None:
        """Into a stream to each port where it listens."""
        import pytest

        sockets = self._around[id(transport)].sockets
        if not sockets.doors:
            pytest.skip("it listens for no streams")
        for door in sockets.doors:
            stranger = self.cleanup.enter_context(socket.create_connection(("127.0.0.1", door.port)))
            await pour(stranger, junk, times)

    def lose_sockets(self, transport: Transport) -> Callable[[], str]:
        """Take its UDP sockets away: what `take_away` may give."""
        around = self._around[id(transport)]
        around.sockets.lose()
        return lambda: "".join(around.reasons[:1])

    async def hang(self, transport: Transport) -> Path:
        """To one in a thread whose loop stands still."""
        inbox, loop = Inbox(), OwnLoop()
        other = await loop.call(self.make())
        self.cleanup.push_async_callback(loop.close, other.close)

        async def begin() -> None:
            await other.start(inbox)
            await self.ready(other)

        await self.within(loop.call(begin()), "start() in a loop of its own")
        path = self.towards(transport, other)

        async def reached() -> None:
            while not inbox.datagrams:
                path.send([b"?" * 40])
                await asyncio.sleep(0.02)

        await self.within(reached(), "a transport in a loop of its own should be reached")
        loop.stand_still()
        return path
