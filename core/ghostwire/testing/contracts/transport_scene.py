"""The scene of every transport's rules: what they share, and where an author says what his is like."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import ClassVar

from ghostwire.capabilities.transport import Buffer, Path, Transport
from ghostwire.testing.contracts.base import Contract

START_TIME, CLOSE_TIME = 10.0, 3.0
"""Seconds that core gives `Transport.start` and `Transport.close`, and then gives them up."""


class Inbox:
    """Collects what a transport delivers; copies at once, since the buffers are only valid during the call."""

    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self.sources: list[Path] = []
        self.bursts: list[int] = []
        self._changed = asyncio.Event()

    def __call__(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        """What the transport calls."""
        burst = [bytes(datagram) for datagram in datagrams]
        self.datagrams += burst
        self.sources += [source] * len(burst)
        self.bursts.append(len(burst))
        self._changed.set()

    async def count(self, number: int) -> None:
        """Wait until this many datagrams have arrived."""
        while len(self.datagrams) < number:
            self._changed.clear()
            await self._changed.wait()


class TransportScene(Contract):
    """What a transport's rules share; subclasses implement `make` and override the other hooks where they do not fit.

    `ready`, `reached_at` say when and where a transport is reached; `strangers`, `pour`, `take_away`, `spoken` and
    `hang` are optional: rules that need them are skipped where they are not given.
    """

    keepalive: ClassVar[float] = 0
    """Seconds between what it sends of its own accord while nobody uses it, to keep routers open say; 0: nothing."""

    async def make(self) -> Transport:
        """A transport that was not started; all made by one test can reach each other, and nothing gets lost."""
        raise NotImplementedError

    async def started(self) -> tuple[Transport, Inbox]:
        """A running one, and what it receives."""
        transport, inbox = await self.make(), Inbox()
        await self.within(transport.start(inbox), "start()", START_TIME)
        self.cleanup.push_async_callback(transport.close)
        await self.within(self.ready(transport), "a transport that has started should be ready")
        return transport, inbox

    def reached_at(self, transport: Transport) -> str:
        """Where others find it: its best endpoint. Override it for a `RelayTransport`, whose endpoints core makes."""
        endpoints = transport.endpoints()
        assert endpoints, "a transport that runs says where it is reached: endpoints() is empty"
        return endpoints[0]

    async def ready(self, transport: Transport) -> None:
        """Wait until a transport that has started drops nothing: a relay's has logged in, say."""

    async def strangers(self, transport: Transport, rubbish: Sequence[bytes]) -> None:
        """Throw each of these at the transport's open port, as anybody could; override it to have the rule checked."""
        import pytest

        pytest.skip("strangers() is not given: where may strangers send bytes?")

    async def pour(self, transport: Transport, junk: bytes, times: int) -> None:
        """Open a stream to the transport's port, as anybody could, and write this so many times without ever reading;
        until the transport closes it, or reads no more for a while. `cleanup` closes it after the rule. Override it to
        have the rule checked."""
        import pytest

        pytest.skip("pour() is not given: where may strangers open streams?")

    async def take_away(self, transport: Transport) -> Callable[[], str]:
        """Take the means of a running transport away (its only listener, say) so that it can't go on, and give a call
        that tells what ``context.failed`` was told, empty for nothing; override it to have the rule checked."""
        import pytest

        pytest.skip("take_away() is not given: what can this transport not go on without?")

    def spoken(self) -> int:
        """How many datagrams and stream segments the rule's transports have sent so far; override it to have their
        silence checked."""
        import pytest

        pytest.skip("spoken() is not given: how often did the transports send something?")

    async def hang(self, transport: Transport) -> Path:
        """A path of this transport to a peer that it has reached once and whose program stands still now, with all its
        connections open; override it to have the rule checked."""
        import pytest

        pytest.skip("hang() is not given: how can a peer of this transport be made to stand still?")

    def towards(self, one: Transport, other: Transport) -> Path:
        """The path from one to the other."""
        return one.path(self.reached_at(other))

    async def arrive(self, inbox: Inbox, number: int) -> list[bytes]:
        """The first datagrams, once they are there."""
        await self.within(inbox.count(number), f"{number} datagrams should arrive ({len(inbox.datagrams)} have)")
        return inbox.datagrams[:number]

    async def silence(self, one: Transport, other: Transport, inbox: Inbox) -> list[bytes]:
        """What has arrived by the time a datagram sent now does, without that datagram."""
        before = len(inbox.datagrams)
        assert self.towards(one, other).send([b"the last"])
        await self.arrive(inbox, before + 1)
        return [datagram for datagram in inbox.datagrams if datagram != b"the last"]

    async def quiet(self, one: Transport, other: Transport, inbox: Inbox) -> None:
        """Ask until an answer arrives: whatever was sent before is there by then, or lost."""
        asked = b"?" * 40

        async def ask() -> None:
            while asked not in inbox.datagrams:
                self.towards(one, other).send([asked])
                await asyncio.sleep(0.02)

        await self.within(ask(), "one of many datagrams should arrive")
