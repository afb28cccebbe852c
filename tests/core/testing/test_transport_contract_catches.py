"""The transport's contract fails for transports that break one of its rules."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ghostwire import Buffer
from ghostwire.testing import MemoryTransport, Network, simulate
from ghostwire.testing.contracts import TransportContract
from ghostwire.testing.datagrams import MemoryPath

from .catching import failure


class CountingNetwork(Network):
    """Counts what is sent over it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0
        self.taps.append(self.count)

    def count(self, *datagram: object) -> None:
        self.sent += 1


STREAMS = 8642


class Pouring(asyncio.Protocol):
    """Writes when there is room, and never reads."""

    def __init__(self) -> None:
        self.room = asyncio.Event()
        self.room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.room.set()

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()

    async def pour(self, stream: Any, junk: bytes, times: int) -> None:
        stream.pause_reading()
        for _ in range(times):
            await self.room.wait()
            stream.write(junk)
            await asyncio.sleep(0)


class Transports(TransportContract):
    run = staticmethod(simulate)
    kind: type[MemoryTransport]
    network: CountingNetwork

    async def make(self) -> MemoryTransport:
        if not hasattr(self, "network"):
            self.network = CountingNetwork()
        number = len(self.network.hosts) + 1
        return self.kind(self.network.host(f"host{number}", f"192.0.2.{number}"))

    async def strangers(self, transport: Any, rubbish: Sequence[bytes]) -> None:
        stranger = self.network.host("stranger", "192.0.2.200").bind(5, lambda source, burst: None)
        for datagram in rubbish:
            stranger.send(("192.0.2.2", 41641), [datagram])
        await asyncio.sleep(1)

    async def pour(self, transport: Any, junk: bytes, times: int) -> None:
        stranger = self.network.host(f"stranger{len(self.network.hosts)}", f"192.0.2.{100 + len(self.network.hosts)}")
        if STREAMS in transport._host.listeners:
            stream, pouring = await stranger.sockets.connect(Pouring, transport._host.name, STREAMS)
            self.cleanup.callback(stream.abort)
            await pouring.pour(stream, junk, times)

    def spoken(self) -> int:
        return self.network.sent

    async def hang(self, transport: Any) -> MemoryPath:
        other, inbox = await self.started()
        path = self.towards(transport, other)
        await self.quiet(transport, other, inbox)
        other._port.deliver = lambda source, payload: False
        return path

    async def take_away(self, transport: Any) -> Callable[[], str]:
        transport.lose_port()
        return lambda: str(transport.told)


class Telling(MemoryTransport):
    """A right one, whose port can be taken away."""

    told = ""

    def lose_port(self) -> None:
        self._port.close()  # type: ignore[union-attr]
        self.told = "the port is gone"


class _OverStreams(Telling):
    """Listens for streams beside; ``Framing`` is what a stream's bytes meet."""

    class Framing(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.stream, self.kept = transport, bytearray()

        def data_received(self, data: bytes) -> None:
            self.kept += data  # until a frame is whole

    async def start(self, receive: Any) -> None:
        await super().start(receive)
        self.streams: list[Any] = []
        self.door = await self._host.sockets.listen(self.framed, "", STREAMS)

    def framed(self) -> Any:
        self.streams.append(self.Framing())
        return self.streams[-1]

    async def close(self) -> None:
        await super().close()
        self.door.close()


class _Echoes(_OverStreams):
    class Framing(_OverStreams.Framing):
        def data_received(self, data: bytes) -> None:
            self.stream.write(b"pong " + data)


class _Bounded(_OverStreams):
    class Framing(_OverStreams.Framing):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if len(self.kept) > 1 << 20:
                self.stream.abort()
                self.kept.clear()


class _SaysNothing(Telling):
    def lose_port(self) -> None:
        self._port.close()  # type: ignore[union-attr]


class _Nameless(Telling):
    def __init__(self, host: Any) -> None:
        super().__init__(host, name="Two Words")


class _ForgetsWhoseItIs(Telling):
    def path(self, endpoint: str) -> MemoryPath:
        class Odd(MemoryPath):
            transport = "another"

        return Odd(self, super().path(endpoint)._target)


class _DeliversTwice(Telling):
    def _arrived(self, source: Any, burst: list[bytes]) -> None:
        super()._arrived(source, burst * 2)


class _Reverses(Telling):
    def _arrived(self, source: Any, burst: list[bytes]) -> None:
        super()._arrived(source, burst[::-1])


class _MistakesSources(Telling):
    def _arrived(self, source: Any, burst: list[bytes]) -> None:
        super()._arrived(("192.0.2.99", 1), burst)


class _NumbersSources(Telling):
    number = 0

    def _arrived(self, source: Any, burst: list[bytes]) -> None:
        self.number += 1
        super()._arrived((source[0], self.number), burst)


class _BelievesAnybody(Telling):
    first: Any = None

    def _arrived(self, source: Any, burst: list[bytes]) -> None:
        self.first = self.first or source
        super()._arrived(self.first, burst)


class _ClosesOnce(Telling):
    async def close(self) -> None:
        self._port.close()  # type: ignore[union-attr]
        self._port = None


class _StartsOnce(Telling):
    starts = 0

    async def start(self, receive: Any) -> None:
        self.starts += 1
        if self.starts > 1:
            raise RuntimeError("already started")
        await super().start(receive)


class _DeafAfterARestart(_StartsOnce):
    async def start(self, receive: Any) -> None:
        try:
            await super().start(receive)
        except RuntimeError:
            await MemoryTransport.start(self, lambda source, burst: None)


class _JamsOnTheDead(Telling):
    sent = 0

    def _arrived(self, source: Any, burst: list[bytes]) -> None:
        self.sent = 0
        super()._arrived(source, burst)

    def send(self, target: Any, datagrams: Sequence[Buffer], ttl: int = 64) -> bool:
        self.sent += len(datagrams)
        return self.sent < 2000 and super().send(target, datagrams, ttl)


class _KeepsAll(Telling):
    def send(self, target: Any, datagrams: Sequence[Buffer], ttl: int = 64) -> bool:
        self.kept = [*getattr(self, "kept", [])[-4000:], b"".join(map(bytes, datagrams))]
        return super().send(target, datagrams, ttl)


class _CutsToSize(Telling):
    def send(self, target: Any, datagrams: Sequence[Buffer], ttl: int = 64) -> bool:
        return super().send(target, [bytes(datagram)[:1312] for datagram in datagrams], ttl)


class _LeavesATask(Telling):
    async def start(self, receive: Any) -> None:
        self.task = asyncio.create_task(asyncio.sleep(3600))
        await asyncio.sleep(0.001)
        await super().start(receive)


class _Chatters(Telling):
    async def start(self, receive: Any) -> None:
        await super().start(receive)
        asyncio.get_running_loop().call_later(0.5, receive, self.path("192.0.2.1:1"), [b"are you there?"])


class _Burns(Telling):
    async def start(self, receive: Any) -> None:
        await super().start(receive)
        asyncio.get_running_loop().call_later(0.01, self.look)

    def look(self) -> None:
        until = time.process_time() + 0.005
        while time.process_time() < until:
            """Looks whether something happened."""
        asyncio.get_running_loop().call_later(0.01, self.look)


class _Pings(Telling):
    async def start(self, receive: Any) -> None:
        await super().start(receive)
        self.ping()

    def ping(self) -> None:
        super().send(("192.0.2.250", 9), [b"keep this open"])
        asyncio.get_running_loop().call_later(20, self.ping)


class _ClosesSlowly(Telling):
    async def close(self) -> None:
        if self._port is not None:
            await asyncio.sleep(60)  # until the peers have taken leave
        await super().close()


class _KeepsBuffers(MemoryTransport):
    def send(self, target: Any, datagrams: Sequence[Buffer]) -> bool:
        asyncio.get_running_loop().call_soon(super().send, target, list(datagrams))
        return True


class _Joins(MemoryTransport):
    def send(self, target: Any, datagrams: Sequence[Buffer]) -> bool:
        return super().send(target, [b"".join(bytes(datagram) for datagram in datagrams)])


class _IdentityPaths(MemoryTransport):
    def path(self, endpoint: str) -> MemoryPath:
        class Odd(MemoryPath):
            __eq__ = object.__eq__
            __hash__ = object.__hash__

        return Odd(self, super().path(endpoint)._target)


class _AnswersNone(MemoryTransport):
    def send(self, target: Any, datagrams: Sequence[Buffer]) -> bool:
        super().send(target, datagrams)
        return None  # type: ignore[return-value]


class _RaisesWhenFull(MemoryTransport):
    def send(self, target: Any, datagrams: Sequence[Buffer]) -> bool:
        if not super().send(target, datagrams) and self._port is not None:
            raise BlockingIOError
        return True


class _NeverCloses(MemoryTransport):
    async def close(self) -> None:
        """Keeps the port open."""


class _AcceptsAnything(MemoryTransport):
    def path(self, endpoint: str) -> MemoryPath:
        try:
            return super().path(endpoint)
        except ValueError:
            return MemoryPath(self, ("192.0.2.1", 1))


class _SmallOnly(MemoryTransport):
    def send(self, target: Any, datagrams: Sequence[Buffer]) -> bool:
        return super().send(target, [bytes(datagram)[:1200] for datagram in datagrams])


class _AdvertisesNothing(MemoryTransport):
    def endpoints(self) -> Sequence[str]:
        return ()


class _AdvertisesBytes(MemoryTransport):
    def endpoints(self) -> Sequence[Any]:
        return [b"192.0.2.1:1"]


BREAKERS = [
    (_KeepsBuffers, "any_kind_of_buffer_is_sent_and_may_be_reused_at_once", "take a copy of what is not sent at once"),
    (_Joins, "datagrams_of_different_sizes_keep_their_borders", "9 datagrams should arrive (0 have)"),
    (_IdentityPaths, "paths_to_the_same_end_are_equal_and_hash_alike", "two paths to the same end must be equal"),
    (_AnswersNone, "a_send_never_raises_and_answers_yes_or_no", "send() answered None instead of True or False"),
    (_RaisesWhenFull, "a_send_never_raises_and_answers_yes_or_no", "must do no harm, but raised BlockingIOError"),
    (_NeverCloses, "a_closed_transport_delivers_nothing_and_sends_nothing", "a closed transport must answer False"),
    (
        _AcceptsAnything,
        "an_endpoint_that_makes_no_sense_is_a_value_error",
        "the endpoint '' must be refused with ValueError, but nothing was raised",
    ),
    (_SmallOnly, "a_full_burst_of_full_datagrams_arrives_whole", "datagram 0 had 1312 bytes and has 1200"),
    (
        _AdvertisesNothing,
        "a_running_transport_advertises_endpoints_as_short_text",
        "0 endpoints; 1 to 16 can be reported",
    ),
    (_AdvertisesBytes, "a_running_transport_advertises_endpoints_as_short_text", "an endpoint is text, not bytes"),
    (_Nameless, "it_has_a_name_and_says_whether_it_is_relayed", "'Two Words' is not a plugin's name"),
    (
        _ForgetsWhoseItIs,
        "a_path_names_its_transport_and_can_be_found_again_by_its_endpoint",
        "a path of memory says that it is of another",
    ),
    (_DeliversTwice, "no_delivery_is_larger_than_a_burst", "128 datagrams in one delivery"),
    (_DeliversTwice, "what_is_sent_slowly_arrives_once_and_in_order", "lost, doubled or reordered"),
    (_DeliversTwice, "a_flood_makes_no_duplicates_and_changes_no_datagram", "1024 datagrams of a flood came twice"),
    (_Reverses, "what_is_sent_slowly_arrives_once_and_in_order", "lost, doubled or reordered"),
    (_MistakesSources, "the_source_of_a_delivery_leads_back", "1 datagrams should arrive (0 have)"),
    (_MistakesSources, "two_sources_are_told_apart", "two senders have the same path"),
    (_NumbersSources, "deliveries_from_one_source_have_equal_paths", "one sender appears as"),
    (
        _BelievesAnybody,
        "rubbish_from_strangers_is_no_peers_datagram_and_does_no_harm",
        "a stranger's bytes were delivered as a peer's",
    ),
    (
        _ClosesOnce,
        "closing_twice_or_before_starting_does_no_harm",
        "close() before start() must do no harm, but raised AttributeError",
    ),
    (
        _StartsOnce,
        "it_can_be_started_again_after_closing",
        "start() after close() must do no harm, but raised RuntimeError: already started",
    ),
    (_DeafAfterARestart, "a_peer_that_restarts_is_reached_again", "one of many datagrams should arrive"),
    (_JamsOnTheDead, "a_peer_that_is_away_costs_the_others_nothing", "one of many datagrams should arrive"),
    (_KeepsAll, "a_flood_into_one_peer_takes_bounded_memory_and_time", "bound the queues and drop"),
    (_CutsToSize, "datagrams_of_impossible_size_do_no_harm", "a datagram that is too large arrived with 1312 bytes"),
    (_LeavesATask, "a_start_that_is_cancelled_leaves_nothing_behind", "a cancelled start() left tasks behind: Task-"),
    (_LeavesATask, "closing_leaves_nothing_behind", "close() left tasks behind: Task-"),
    (_SaysNothing, "it_says_so_when_it_carries_nothing_any_more", "failed(reason) should be called"),
    (
        _OverStreams,
        "a_stranger_whose_stream_never_ends_and_who_reads_nothing_costs_bounded_memory",
        "into a stream without end and reads nothing: bound what waits to be understood",
    ),
    (
        _Echoes,
        "a_stranger_whose_stream_never_ends_and_who_reads_nothing_costs_bounded_memory",
        "and what waits to be sent, and close such a stream",
    ),
    (_KeepsAll, "a_peer_that_hangs_costs_bounded_memory_and_time", "for a peer that hangs: bound its queue and drop"),
    (_Burns, "an_idle_transport_delivers_nothing_and_spins_not", "it must wait for events, not look for them"),
    (
        _Pings,
        "an_idle_transport_is_silent",
        "30 datagrams were sent in 300 s in which nobody used the transport (none is allowed)",
    ),
    (_ClosesSlowly, "starting_and_closing_take_no_longer_than_core_waits", "close(): not within 3 s"),
    (_Chatters, "an_idle_transport_delivers_nothing_and_spins_not", "something was delivered that nobody sent"),
]


@pytest.mark.parametrize(("kind", "rule_name", "words"), BREAKERS)
def test_a_broken_transport_is_caught_in_words(kind: type[MemoryTransport], rule_name: str, words: str) -> None:
    assert words in failure(Transports, kind, rule_name)


def test_every_rule_has_a_breaker() -> None:
    assert {rule_name for _, rule_name, _ in BREAKERS} == set(Transports.rules())


@pytest.mark.parametrize("rule_name", Transports.rules())
def test_a_right_transport_is_not_caught(rule_name: str) -> None:
    assert failure(Transports, Telling, rule_name) == ""


def test_what_is_declared_as_keepalive_may_be_sent() -> None:
    class Declared(Transports):
        keepalive, kind = 20, _Pings

    Declared().test_an_idle_transport_is_silent()


def test_one_that_closes_streams_which_make_no_sense_is_not_caught() -> None:
    rule_name = "a_stranger_whose_stream_never_ends_and_who_reads_nothing_costs_bounded_memory"
    assert failure(Transports, _Bounded, rule_name) == ""
