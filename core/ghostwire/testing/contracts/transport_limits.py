"""What every transport must do when it is pressed: floods, strangers, peers that hang, cancelling, failing, idling."""

from __future__ import annotations

import asyncio
import math
import time

from ghostwire.capabilities.transport import BURST, SEALED_MTU
from ghostwire.testing.clock import SeededEntropy
from ghostwire.testing.contracts.base import leaves_nothing, rule
from ghostwire.testing.contracts.memory import Growth
from ghostwire.testing.contracts.transport_scene import CLOSE_TIME, START_TIME, Inbox, TransportScene
from ghostwire.testing.loop import SimulatedLoop

FLOOD_TIME, FLOOD_MEMORY = 20.0, 64 << 20
"""Seconds and bytes that 2,000 bursts into one peer may take at most; ours take a tenth."""
POURED, TIMES, STREAM_MEMORY = 1 << 16, 512, 12 << 20
"""Bytes that a stranger writes at once into a stream, and how often; and bytes that may be kept of these, or of answers
to them."""
IDLE_TIME = 0.4
"""Seconds of CPU that an idle second may take, on a machine that others use too."""
IDLE_WINDOW = 300
"""Seconds of silence that are asked for where they pass in no time."""


class TransportLimits(TransportScene):
    """Rules about limits; part of `TransportContract`."""

    # Back-pressure

    @rule
    async def test_a_flood_into_one_peer_takes_bounded_memory_and_time(self) -> None:
        """What cannot be sent at once is dropped, not kept; 160 MB are sent in one pass of the loop."""
        (one, _), (other, _) = await self.started(), await self.started()
        path, burst = self.towards(one, other), [bytes(SEALED_MTU)] * BURST
        path.send(burst)
        with Growth() as growth:
            began = time.monotonic()
            for _ in range(2000):
                path.send(list(burst))
            took, grown = time.monotonic() - began, growth()
        assert took < FLOOD_TIME, f"2,000 bursts took {took:.1f} s: send() must never wait"
        assert grown < FLOOD_MEMORY, f"memory grew by {grown >> 20} MB during a flood: bound the queues and drop"

    @rule
    async def test_a_peer_that_hangs_costs_bounded_memory_and_time(self) -> None:
        """Its connection stays open and nothing reads from it; the others get theirs meanwhile."""
        (one, _), (other, inbox) = await self.started(), await self.started()
        path, burst = await self.hang(one), [bytes(SEALED_MTU)] * BURST
        with Growth() as growth:
            began = time.monotonic()
            for number in range(2000):
                path.send(list(burst))
                if number % 10 == 0:
                    await asyncio.sleep(0)
            took, grown = time.monotonic() - began, growth()
        assert took < FLOOD_TIME, f"2,000 bursts for a peer that hangs took {took:.1f} s: send() must never wait"
        assert grown < FLOOD_MEMORY, f"memory grew by {grown >> 20} MB for a peer that hangs: bound its queue and drop"
        await self.quiet(one, other, inbox)

    # Hostile input

    @rule
    async def test_datagrams_of_impossible_size_do_no_harm(self) -> None:
        """They are dropped, and the next one arrives."""
        (one, _), (other, inbox) = await self.started(), await self.started()
        path = self.towards(one, other)
        impossible = [bytes(65_536), bytes(200_000)]
        for datagram in impossible:
            assert path.send([datagram]) in (True, False)
        await self.quiet(one, other, inbox)
        changed = [d for d in inbox.datagrams if not is_ours(d) and d not in impossible]
        assert not changed, f"a datagram that is too large arrived with {len(changed[0])} bytes: drop it whole"

    @rule
    async def test_rubbish_from_strangers_is_no_peers_datagram_and_does_no_harm(self) -> None:
        """Whoever can reach its port sends whatever he likes."""
        (one, _), (other, inbox) = await self.started(), await self.started()
        assert await self.silence(one, other, inbox) == []
        known = set(inbox.sources)
        chance = SeededEntropy("rubbish")
        await self.strangers(other, [chance(size) for size in (0, 1, 2, 20, 100, 1200, 1312, 1472) for _ in range(8)])
        await self.quiet(one, other, inbox)
        wrong = [d for d, s in zip(inbox.datagrams, inbox.sources, strict=True) if s in known and not is_ours(d)]
        assert not wrong, f"a stranger's bytes were delivered as a peer's: {wrong[0][:20]!r}"

    @rule
    async def test_a_stranger_whose_stream_never_ends_and_who_reads_nothing_costs_bounded_memory(self) -> None:
        """What makes no sense yet is kept up to a limit, and so is what he is answered; then the stream is closed."""
        (one, _), (other, inbox) = await self.started(), await self.started()
        for junk in (b"\0", b"\xff", b"a", b"\n"):
            with Growth() as growth:
                await self.pour(other, junk * POURED, TIMES)
                grown = growth()
            assert grown < STREAM_MEMORY, (
                f"memory grew by {grown >> 20} MB for a stranger who writes {junk!r} into a stream without end and "
                "reads nothing: bound what waits to be understood and what waits to be sent, and close such a stream"
            )
        await self.quiet(one, other, inbox)

    # Cancellation, failing, closing

    @rule
    async def test_a_start_that_is_cancelled_leaves_nothing_behind(self) -> None:
        """Neither tasks nor sockets; and it can be started afterwards."""
        transport = await self.make()
        with leaves_nothing("a cancelled start()"):
            starting = asyncio.ensure_future(transport.start(Inbox()))
            await asyncio.sleep(0)
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await self.within(transport.close(), "close() after a cancelled start()")
            await asyncio.sleep(0.05)
        await transport.start(Inbox())
        await transport.close()

    @rule
    async def test_closing_leaves_nothing_behind(self) -> None:
        """Neither tasks nor sockets nor threads, though datagrams were under way."""
        one, other = await self.make(), await self.make()
        with leaves_nothing("close()"):
            for each in (one, other):
                await each.start(Inbox())
                await self.within(self.ready(each), "a transport that has started should be ready")
            self.towards(one, other).send([bytes(100)] * BURST)
            await asyncio.sleep(0.05)
            for each in (one, other):
                await self.within(each.close(), "close()")
            await asyncio.sleep(0.05)

    @rule
    async def test_it_says_so_when_it_carries_nothing_any_more(self) -> None:
        """`TransportContext.failed`, so that core starts another."""
        (transport, _), (other, _) = await self.started(), await self.started()
        path = self.towards(transport, other)
        told = await self.take_away(transport)

        async def asked() -> None:
            while not told():
                path.send([b"?" * 40])  # the mesh goes on using it
                await asyncio.sleep(0.02)

        await self.within(asked(), "failed(reason) should be called")
        assert len(told().splitlines()) == 1, f"the reason must be one line, not {told()!r}"

    # Time

    @rule
    async def test_an_idle_transport_delivers_nothing_and_spins_not(self) -> None:
        """A laptop's battery pays for whatever happens while nothing does."""
        (one, mine), (other, yours) = await self.started(), await self.started()
        await self.quiet(one, other, yours)
        before, used = len(yours.datagrams), time.process_time()
        await asyncio.sleep(1)
        used = time.process_time() - used
        assert used < IDLE_TIME, f"an idle second took {used:.2f} s of CPU: it must wait for events, not look for them"
        assert (len(mine.datagrams), len(yours.datagrams)) == (0, before), "something was delivered that nobody sent"

    @rule
    async def test_an_idle_transport_is_silent(self) -> None:
        """Every datagram wakes a phone's radio; what must be said is declared as `keepalive`."""
        (one, _), (other, inbox) = await self.started(), await self.started()
        await self.quiet(one, other, inbox)
        window = IDLE_WINDOW if isinstance(asyncio.get_running_loop(), SimulatedLoop) else 1
        allowed = 4 * math.ceil(window / self.keepalive) if self.keepalive else 0
        for _ in range(5):  # the first ones may bring what is left of the traffic: acknowledgements, say
            before = self.spoken()
            await asyncio.sleep(window)
            said = self.spoken() - before
            if said <= allowed:
                return
        declared = f"{allowed} allowed by keepalive = {self.keepalive:g}" if self.keepalive else "none is allowed"
        raise AssertionError(
            f"{said} datagrams were sent in {window} s in which nobody used the transport ({declared}): be silent "
            "while idle, or declare `keepalive`, the seconds between what must be sent"
        )

    @rule
    async def test_starting_and_closing_take_no_longer_than_core_waits(self) -> None:
        """Even with a peer that went while datagrams were under way."""
        (one, _), (gone, _) = await self.started(), await self.started()
        path = self.towards(one, gone)
        await self.within(gone.close(), "close()", CLOSE_TIME)
        path.send([bytes(SEALED_MTU)] * BURST)
        await asyncio.sleep(0.05)
        path.send([bytes(SEALED_MTU)] * BURST)
        await self.within(one.close(), "close() while datagrams for a peer that went are under way", CLOSE_TIME)
        await self.within(one.start(Inbox()), "start() after closing", START_TIME)


def is_ours(datagram: bytes) -> bool:
    """Whether a rule sent it to find out what arrives."""
    return datagram == b"the last" or datagram.startswith(b"?")
