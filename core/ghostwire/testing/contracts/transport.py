"""What every transport must do, whatever it is made of."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Sequence

from ghostwire.capabilities.transport import BURST, SEALED_MTU, Buffer, Path, RelayTransport, Transport
from ghostwire.testing.clock import SeededEntropy
from ghostwire.testing.contracts.base import Contract, leaves_nothing, refused, rule
from ghostwire.wire.messages import MAX_ENDPOINT_TEXT, MAX_ENDPOINTS

FLOOD_TIME, FLOOD_MEMORY = 20.0, 64 << 20
"""Seconds and bytes that 2,000 bursts into one peer may take at most; ours take a tenth."""
IDLE_TIME = 0.4
"""Seconds of CPU that an idle second may take, on a machine that others use too."""

NONSENSE = ("", "?", "\0", "x" * 1000, "host", "host:port:what")


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


class TransportContract(Contract):
    """Subclass it as ``Test...`` and implement `make`; override the other hooks where they do not fit.

    `ready`, `reached_at` say when and where a transport is reached; `strangers` and `take_away` are optional: rules
    that need them are skipped where they are not given.
    """

    async def make(self) -> Transport:
        """A transport that was not started; all made by one test can reach each other, and nothing gets lost."""
        raise NotImplementedError

    async def started(self) -> tuple[Transport, Inbox]:
        """A running one, and what it receives."""
        transport, inbox = await self.make(), Inbox()
        await transport.start(inbox)
        self.cleanup.push_async_callback(transport.close)
        await self.within(self.ready(transport), "a transport that has started should be ready")
        return transport, inbox

    def reached_at(self, transport: Transport) -> str:
        """Where others find it: its best endpoint. Override it for a `RelayTransport`, whose endpoints core makes."""
        return transport.endpoints()[0]

    async def ready(self, transport: Transport) -> None:
        """Wait until a transport that has started drops nothing: a relay's has logged in, say."""

    async def strangers(self, transport: Transport, rubbish: Sequence[bytes]) -> None:
        """Throw each of these at the transport's open port, as anybody could; override it to have the rule checked."""
        import pytest

        pytest.skip("strangers() is not given: where may strangers send bytes?")

    async def take_away(self, transport: Transport) -> Callable[[], str]:
        """Take the means of a running transport away (its only listener, say) so that it can't go on, and give a call
        that tells what ``context.failed`` was told, empty for nothing; override it to have the rule checked."""
        import pytest

        pytest.skip("take_away() is not given: what can this transport not go on without?")

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

    @rule
    async def test_it_has_a_name_and_says_whether_it_is_relayed(self) -> None:
        """Names are what endpoints and settings refer to."""
        transport = await self.make()
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", transport.name), f"{transport.name!r} is not a plugin's name"
        assert isinstance(transport.relayed, bool)

    @rule
    async def test_a_running_transport_advertises_endpoints_as_short_text(self) -> None:
        """Reports carry them to the server; a relay transport has none, since core tells the server of its home."""
        transport, _ = await self.started()
        endpoints = transport.endpoints()
        if isinstance(transport, RelayTransport):
            assert not endpoints, f"a relay transport must advertise nothing, not {endpoints!r}"
            return
        assert 0 < len(endpoints) <= MAX_ENDPOINTS, f"{len(endpoints)} endpoints; 1 to {MAX_ENDPOINTS} can be reported"
        for text in endpoints:
            assert isinstance(text, str), f"an endpoint is text, not {type(text).__name__}"
            assert 0 < len(text.encode()) <= MAX_ENDPOINT_TEXT, f"{text!r} is longer than {MAX_ENDPOINT_TEXT} bytes"

    @rule
    async def test_a_path_names_its_transport_and_can_be_found_again_by_its_endpoint(self) -> None:
        """The map cache keeps endpoints, not paths."""
        (one, _), (other, _) = await self.started(), await self.started()
        path = self.towards(one, other)
        assert path.transport == one.name
        assert path.relayed is one.relayed
        assert one.path(path.endpoint) == path, f"path({path.endpoint!r}) is another path than the one it came from"

    @rule
    async def test_paths_to_the_same_end_are_equal_and_hash_alike(self) -> None:
        """Tunnels look sources up in dictionaries."""
        (one, _), (other, _), (third, _) = [await self.started() for _ in range(3)]
        first, again, elsewhere = self.towards(one, other), self.towards(one, other), self.towards(one, third)
        assert first == again, "two paths to the same end must be equal"
        assert hash(first) == hash(again), "two paths to the same end must hash alike"
        assert first != elsewhere, "paths to different ends must differ"

    @rule
    async def test_an_endpoint_that_makes_no_sense_is_a_value_error(self) -> None:
        """Endpoints come from the network."""
        transport, _ = await self.started()
        for text in NONSENSE:
            with refused(ValueError, f"the endpoint {text[:20]!r}"):
                transport.path(text)

    @rule
    async def test_a_full_burst_of_full_datagrams_arrives_whole(self) -> None:
        """64 datagrams of a full mesh packet and WireGuard's 32 bytes each."""
        (one, _), (other, inbox) = await self.started(), await self.started()
        burst = [bytes([number]) * SEALED_MTU for number in range(BURST)]
        assert self.towards(one, other).send(burst), "a first burst must not be dropped"
        assert await self.arrive(inbox, BURST) == burst

    @rule
    async def test_datagrams_of_different_sizes_keep_their_borders(self) -> None:
        """Whatever joins datagrams for speed must part them again."""
        (one, _), (other, inbox) = await self.started(), await self.started()
        burst = [bytes([size % 256]) * size for size in (SEALED_MTU, SEALED_MTU, 32, 1, 148, 148, 500, SEALED_MTU, 33)]
        self.towards(one, other).send(burst)
        assert await self.arrive(inbox, len(burst)) == burst

    @rule
    async def test_no_delivery_is_larger_than_a_burst(self) -> None:
        """Receivers size their buffers by it."""
        (one, _), (other, inbox) = await self.started(), await self.started()
        for _ in range(4):
            self.towards(one, other).send([bytes(100)] * BURST)
        await self.arrive(inbox, BURST)
        assert max(inbox.bursts) <= BURST, f"{max(inbox.bursts)} datagrams in one delivery"

    @rule
    async def test_any_kind_of_buffer_is_sent_and_may_be_reused_at_once(self) -> None:
        """Tunnels seal into buffers that they use again."""
        (one, _), (other, inbox) = await self.started(), await self.started()
        reused = bytearray(b"original")
        kinds: list[Buffer] = [b"bytes", bytearray(b"bytearray"), memoryview(b"--view--")[2:6], reused]
        self.towards(one, other).send(kinds)
        reused[:] = b"scribble"
        assert await self.arrive(inbox, 4) == [b"bytes", b"bytearray", b"view", b"original"]

    @rule
    async def test_the_source_of_a_delivery_leads_back(self) -> None:
        """A peer that nobody knew can be answered."""
        (one, mine), (other, yours) = await self.started(), await self.started()
        self.towards(one, other).send([b"who is there"])
        await self.arrive(yours, 1)
        assert yours.sources[0].send([b"me"])
        assert await self.arrive(mine, 1) == [b"me"]

    @rule
    async def test_deliveries_from_one_source_have_equal_paths(self) -> None:
        """Else every burst would look like roaming."""
        (one, _), (other, inbox) = await self.started(), await self.started()
        for number in range(3):
            self.towards(one, other).send([bytes([number])])
            await self.arrive(inbox, number + 1)
        assert len(set(inbox.sources)) == 1, f"one sender appears as {set(inbox.sources)}"

    @rule
    async def test_two_sources_are_told_apart(self) -> None:
        """And never share a delivery."""
        (one, _), (two, _), (other, inbox) = [await self.started() for _ in range(3)]
        self.towards(one, other).send([b"one"])
        self.towards(two, other).send([b"two"])
        await self.arrive(inbox, 2)
        sources = dict(zip(inbox.datagrams, inbox.sources, strict=True))
        assert sources[b"one"] != sources[b"two"], "two senders have the same path"

    @rule
    async def test_a_send_never_raises_and_answers_yes_or_no(self) -> None:
        """Not even into a flood, or to where nobody listens."""
        (one, _), (gone, _), (other, inbox) = [await self.started() for _ in range(3)]
        nowhere = self.towards(one, gone)
        await gone.close()
        for path in (self.towards(one, other), nowhere):
            for _ in range(100):
                answer = path.send([bytes(SEALED_MTU)] * BURST)
                assert answer is True or answer is False, f"send() answered {answer!r} instead of True or False"
        await self.within(inbox.count(1), "some of a flood should arrive")

    @rule
    async def test_a_closed_transport_delivers_nothing_and_sends_nothing(self) -> None:
        """The node closes transports while peers still send."""
        (one, mine), (other, yours), (third, inbox) = [await self.started() for _ in range(3)]
        there, back = self.towards(one, other), self.towards(other, one)
        await one.close()
        assert there.send([b"from the grave"]) is False, "a closed transport must answer False"
        back.send([b"to the grave"])
        assert await self.silence(other, third, inbox) == []
        assert await self.silence(third, other, yours) == []
        assert mine.datagrams == []

    @rule
    async def test_closing_twice_or_before_starting_does_no_harm(self) -> None:
        """Programs close in reverse order, whatever was begun."""
        transport = await self.make()
        await transport.close()
        started, _ = await self.started()
        await started.close()
        await started.close()

    @rule
    async def test_it_can_be_started_again_after_closing(self) -> None:
        """What it held is free again."""
        (one, _), (other, inbox) = await self.started(), await self.started()
        await one.close()
        await one.start(Inbox())
        assert await self.silence(one, other, inbox) == []

    # Order, loss, duplicates

    @rule
    async def test_what_is_sent_slowly_arrives_once_and_in_order(self) -> None:
        """Without a flood nothing is lost, doubled or overtaken."""
        (one, _), (other, inbox) = await self.started(), await self.started()
        sent = [number.to_bytes(2, "big") * 100 for number in range(100)]
        path = self.towards(one, other)
        for at in range(0, len(sent), 10):
            assert path.send(sent[at : at + 10]), "a send into a quiet transport was dropped"
            await self.arrive(inbox, at + 10)
        assert await self.silence(one, other, inbox) == sent, "datagrams were lost, doubled or reordered"

    @rule
    async def test_a_flood_makes_no_duplicates_and_changes_no_datagram(self) -> None:
        """What is lost is lost whole."""
        (one, _), (other, inbox) = await self.started(), await self.started()
        path, sent = self.towards(one, other), [b"%08d" % number * 100 for number in range(BURST * 20)]
        for at in range(0, len(sent), BURST):
            path.send(sent[at : at + BURST])
            await asyncio.sleep(0)
        await self.quiet(one, other, inbox)
        got = [datagram for datagram in inbox.datagrams if not datagram.startswith(b"?")]
        assert len(got) == len(set(got)), f"{len(got) - len(set(got))} datagrams of a flood came twice"
        assert set(got) <= set(sent), "a flood brought datagrams that nobody sent"

    async def quiet(self, one: Transport, other: Transport, inbox: Inbox) -> None:
        """Ask until an answer arrives: whatever was sent before is there by then, or lost."""
        asked = b"?" * 40

        async def ask() -> None:
            while asked not in inbox.datagrams:
                self.towards(one, other).send([asked])
                await asyncio.sleep(0.02)

        await self.within(ask(), "a datagram after a flood should arrive")

    # Reconnecting

    @rule
    async def test_a_peer_that_restarts_is_reached_again(self) -> None:
        """Its connections are gone, and nobody told this side."""
        (one, _), (other, inbox) = await self.started(), await self.started()
        assert await self.silence(one, other, inbox) == []
        await other.close()
        again = Inbox()
        await other.start(again)
        await self.within(self.ready(other), "a transport that was started again should be ready")
        await self.quiet(one, other, again)

    @rule
    async def test_a_peer_that_is_away_costs_the_others_nothing(self) -> None:
        """Each peer has a queue of its own."""
        (one, _), (gone, _), (other, inbox) = [await self.started() for _ in range(3)]
        nowhere = self.towards(one, gone)
        await gone.close()
        for _ in range(50):
            nowhere.send([bytes(SEALED_MTU)] * BURST)
        await self.quiet(one, other, inbox)

    # Back-pressure

    @rule
    async def test_a_flood_into_one_peer_takes_bounded_memory_and_time(self) -> None:
        """What cannot be sent at once is dropped, not kept; 160 MB are sent in one pass of the loop."""
        (one, _), (other, _) = await self.started(), await self.started()
        path, burst = self.towards(one, other), [bytes(SEALED_MTU)] * BURST
        path.send(burst)
        before, began = _resident(), time.monotonic()
        for _ in range(2000):
            path.send(list(burst))
        took, grown = time.monotonic() - began, _resident() - before
        assert took < FLOOD_TIME, f"2,000 bursts took {took:.1f} s: send() must never wait"
        assert grown < FLOOD_MEMORY, f"memory grew by {grown >> 20} MB during a flood: bound the queues and drop"

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
        changed = [d for d in inbox.datagrams if not _is_ours(d) and d not in impossible]
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
        wrong = [d for d, s in zip(inbox.datagrams, inbox.sources, strict=True) if s in known and not _is_ours(d)]
        assert not wrong, f"a stranger's bytes were delivered as a peer's: {wrong[0][:20]!r}"

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
        transport, _ = await self.started()
        told = await self.take_away(transport)

        async def asked() -> None:
            while not told():  # noqa: ASYNC110 (what is waited for is the transport's own)
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


def _is_ours(datagram: bytes) -> bool:
    return datagram == b"the last" or datagram.startswith(b"?")


def _resident() -> int:
    """Bytes of memory that this process holds; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
