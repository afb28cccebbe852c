"""What every transport must do, whatever it is made of."""

from __future__ import annotations

import asyncio
import re

from ghostwire.capabilities.transport import BURST, SEALED_MTU, Buffer, RelayTransport
from ghostwire.testing.contracts.base import harmless, refused, rule
from ghostwire.testing.contracts.transport_limits import TransportLimits
from ghostwire.testing.contracts.transport_scene import Inbox
from ghostwire.wire.messages import MAX_ENDPOINT_TEXT, MAX_ENDPOINTS

__all__ = ["Inbox", "TransportContract"]

NONSENSE = ("", "?", "\0", "x" * 1000, "host", "host:port:what")


class TransportContract(TransportLimits):
    """Subclass it as ``Test...`` and implement `make`; override the other hooks where they do not fit.

    `ready`, `reached_at` say when and where a transport is reached; `strangers`, `take_away`, `spoken` and `hang` are
    optional: rules that need them are skipped where they are not given.
    """

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
        assert path.transport == one.name, f"a path of {one.name} says that it is of {path.transport}"
        assert path.relayed is one.relayed, "a path must say whether it is relayed as its transport does"
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
        arrived = await self.arrive(inbox, BURST)
        assert arrived == burst, f"a burst arrived changed: {_differs(burst, arrived)}"

    @rule
    async def test_datagrams_of_different_sizes_keep_their_borders(self) -> None:
        """Whatever joins datagrams for speed must part them again."""
        (one, _), (other, inbox) = await self.started(), await self.started()
        burst = [bytes([size % 256]) * size for size in (SEALED_MTU, SEALED_MTU, 32, 1, 148, 148, 500, SEALED_MTU, 33)]
        self.towards(one, other).send(burst)
        arrived = await self.arrive(inbox, len(burst))
        assert arrived == burst, f"datagrams of different sizes arrived changed: {_differs(burst, arrived)}"

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
        arrived = await self.arrive(inbox, 4)
        assert arrived == [b"bytes", b"bytearray", b"view", b"original"], (
            f"{arrived} arrived: take a copy of what is not sent at once, since buffers are used again"
        )

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
                with harmless("send() into a flood, or to where nobody listens,"):
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
        with harmless("close() before start()"):
            await transport.close()
        started, _ = await self.started()
        with harmless("closing twice"):
            await started.close()
            await started.close()

    @rule
    async def test_it_can_be_started_again_after_closing(self) -> None:
        """What it held is free again."""
        (one, _), (other, inbox) = await self.started(), await self.started()
        await one.close()
        with harmless("start() after close()"):
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


def _differs(sent: list[bytes], arrived: list[bytes]) -> str:
    """Where two bursts differ first."""
    for number, (one, other) in enumerate(zip(sent, arrived, strict=True)):
        if one != other:
            return f"datagram {number} had {len(one)} bytes and has {len(other)}"
    return "nowhere"
