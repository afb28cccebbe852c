"""Our node and stock magicsock, as `tailcat` has it: a session over our relay that goes direct, back, and direct again.

Ours is the whole daemon, without a server (`lone`); tailcat is the binary of pytailcat, unmodified. Each is behind a
router of its own, and real TCP goes on between our kernel and its netstack, end to end through WireGuard. Seen in both
roles: pings, pongs and call-me-maybes in both directions, the field's handshake and data over relay and UDP.

Not ours is how a tailcat client introduces itself (`meow`), which stands for the control server: tests do that for our
node, under its key and before it starts. What could not be shown, since only a control server or its owner can do it:

- endpoints, homes and keys that come by a network map, and disco keys that change: tailcat has call-me-maybe alone,
  makes its node key its disco key, and both ends share one home;
- packets other than TCP over IPv6: its packet filter drops the rest, and its addresses come of its node keys;
- a return to the relay as fast as between our own nodes: a stock peer trusts a direct path that fell silent for 6.5 s,
  whatever we say meanwhile;
- probes of the path's MTU and peer relays (disco's types 04-09): tailcat has neither switched on.

What stock code answers byte for byte is in test_disco_tailcat.

Where neither knows the other's endpoints, a stock peer pings those of our calls, but calls back only when it has data
to send and has pinged nothing for 5 s. So the first direct path takes up to 13 s, as our calls are seconds apart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mishaps
import pytest
from conversation import Conversation, Echo, PipedConversation, TcpConversation
from lone import PEER, LoneNode, map_node
from meow import await_client, disco_key, introduce, mesh_address, server_key, token
from natlab import Lab
from programs import Relay, wait_for
from stock import NO_TAILCAT, REGION, MapServer, Tailcat, connect, derp_map, find_tailcat
from udptrace import Seen, Trace

from ghostwire import SEALED_MTU
from ghostwire.keys import DiscoKey, NodeKey, PrivateKey
from ghostwire.model import MapRelay
from ghostwire.wire.box import Box
from ghostwire.wire.disco import PING_BYTES, PONG_BYTES, Message, Ping, Pong, unseal

RELAY, OURS, THEIRS = "10.50.0.11", "home1", "office1"
OUTSIDE, THEIR_OUTSIDE = "10.50.1.1", "10.50.1.2"
PORT, ECHO = 443, 7007
TO_DIRECT, TO_RELAY = 30.0, 15.0
"""Seconds until data goes direct both ways, and until it goes over the relay: those of a stock peer, and what TCP waits
after a silence of 6.5 s until it tries again."""
AT_ONCE = 1.0
LATELY = 0.5

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not find_tailcat(), reason=NO_TAILCAT),
    pytest.mark.usefixtures("tun"),
]


@pytest.fixture(scope="module")
def lab(make_lab: Callable[[], Lab]) -> Lab:
    lab = make_lab()
    lab.host("relay", RELAY)
    lab.site("home", "port_restricted")
    lab.site("office", "port_restricted")
    lab.build()
    return lab


@pytest.fixture(scope="module")
def relay(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MapRelay]:
    """Our relay, as our map says it; tailcat finds it in its DERP map."""
    program = Relay(lab, "relay", tmp_path_factory.mktemp("relay"), PORT)
    program.start()
    served = MapServer(lab, THEIRS, derp_map(RELAY, PORT, program.pin))
    yield MapRelay(
        id=1,
        name="relay",
        region=REGION,
        region_name="lab",
        host=RELAY,
        port=PORT,
        ipv4=RELAY,
        certificate=program.pin,
    )
    served.close()


@dataclass
class Meeting:
    """Our node and a tailcat in a conversation; what crosses our member's link is watched."""

    lab: Lab
    node: LoneNode
    peer: NodeKey
    talk: Conversation
    trace: Trace
    log: Path
    box: Box

    def lately(self, *, leaving: bool) -> bool:
        """Whether WireGuard's data goes direct in this direction now."""
        return bool(self.trace.of("data", leaving=leaving, since=time.monotonic() - LATELY))

    def is_direct(self) -> bool:
        """Our node says so, and data is seen to go so in both directions."""
        return self.node.way().startswith("direct") and self.lately(leaving=True) and self.lately(leaving=False)

    def is_relayed(self) -> bool:
        """Our node says so, and answers come although no data does over UDP."""
        answered = self.talk.answers[-1] > time.monotonic() - LATELY
        return self.node.way() == "relay" and answered and not self.lately(leaving=False)

    def becomes(self, what: str, happened: Callable[[], bool], patience: float) -> float:
        """Wait for it; the seconds that it took."""
        began = time.monotonic()
        try:
            wait_for(what, happened, patience)
            self.talk.goes_on()
        except AssertionError as failure:
            failure.add_note(f"{self.node.explained()}\n{self.log.read_text(errors='replace')[-3000:]}")
            raise
        return time.monotonic() - began

    def goes_direct(self) -> float:
        return self.becomes("data goes direct both ways", self.is_direct, TO_DIRECT)

    def goes_by_relay(self) -> float:
        return self.becomes("data goes over the relay", self.is_relayed, TO_RELAY)

    def messages(self, *, leaving: bool) -> list[tuple[Seen, Message | None]]:
        """The disco messages between the two outside addresses."""
        seen = self.trace.of("disco", leaving=leaving)
        return [(each, unseal(each.datagram, self.box)) for each in seen if each.other == THEIR_OUTSIDE]

    def answered(self, *, leaving: bool) -> list[Seen]:
        """The pings of this direction whose pongs were seen."""
        pongs = [message for _, message in self.messages(leaving=not leaving) if isinstance(message, Pong)]
        known = {pong.transaction for pong in pongs}
        pings = self.messages(leaving=leaving)
        return [seen for seen, message in pings if isinstance(message, Ping) and message.transaction in known]


@pytest.fixture(scope="class")
def with_server(lab: Lab, relay: MapRelay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meeting]:
    """Our node is the client of a tailcat, and neither knows where the other is."""
    with meet_server(lab, relay, tmp_path_factory.mktemp("client"), told=False) as meeting:
        yield meeting


@contextmanager
def meet_server(lab: Lab, relay: MapRelay, folder: Path, *, told: bool) -> Iterator[Meeting]:
    """Our node is the client of a tailcat that passes TCP on to an echo; whether it was ``told`` where that is."""
    own, disco = PrivateKey.generate(), PrivateKey.generate()
    echo = Echo(lab, THEIRS, "127.0.0.1", ECHO)
    with Tailcat(lab, THEIRS, folder, ECHO) as tailcat:
        tailcat.ready()
        peer = server_key(tailcat.address)
        introduce(lab, OURS, RELAY, own, disco, peer)
        endpoints = [tailcat.endpoint()] if told else []
        node = started(lab, folder, relay, (own, disco), (peer, disco_key(peer)), *endpoints)
        talk = TcpConversation(lab, OURS, mesh_address(peer), ECHO)
        with Trace(lab, OURS) as trace, talk:
            yield Meeting(lab, node, peer, talk, trace, tailcat.log, Box(disco, peer.raw))
        node.end()
    echo.close()


@pytest.fixture
def with_client(lab: Lab, relay: MapRelay, tmp_path: Path) -> Iterator[Meeting]:
    """Our node is the server of a tailcat that carries a conversation to an echo in our mesh address."""
    own = PrivateKey.generate()
    met: list[tuple[NodeKey, DiscoKey]] = []
    meeting = threading.Thread(target=lambda: met.append(await_client(lab, OURS, RELAY, own)))
    meeting.start()
    process = connect(lab, THEIRS, tmp_path, token(own.public(NodeKey), REGION), ECHO)
    talk = PipedConversation(process)
    with Trace(lab, OURS) as trace, talk:
        meeting.join()
        (peer,) = met
        node = started(lab, tmp_path, relay, (own, own), peer)
        echo = Echo(lab, OURS, mesh_address(own.public(NodeKey)), ECHO)
        yield Meeting(lab, node, peer[0], talk, trace, tmp_path / f"{THEIRS}.log", Box(own, peer[1].raw))
        echo.close()
        node.end()


def started(
    lab: Lab,
    folder: Path,
    relay: MapRelay,
    own: tuple[PrivateKey, PrivateKey],
    peer: tuple[NodeKey, DiscoKey],
    *endpoints: str,
) -> LoneNode:
    """Our node with these node and disco keys, up, and knowing a tailcat by its public ones."""
    node = LoneNode(lab, OURS, folder, *own)
    tailcat = map_node(PEER, "tailcat", *peer, mesh_address(peer[0]), relay)
    node.know(mesh_address(own[0].public(NodeKey)), relay, tailcat, *endpoints)
    node.run()
    return node


class TestAStockServer:
    """One after the other, in one conversation."""

    def test_a_session_begins_over_the_relay_and_goes_direct(self, with_server: Meeting) -> None:
        meeting, trace = with_server, with_server.trace
        meeting.talk.goes_on(1)
        assert meeting.talk.answers[0] - meeting.talk.began < 5
        assert not [each for each in trace.of("data", leaving=False) if each.at < meeting.talk.answers[0]]
        meeting.goes_direct()
        assert meeting.node.way().startswith(f"direct {THEIR_OUTSIDE}:")
        assert SEALED_MTU in {len(each.datagram) for each in meeting.answered(leaving=True)}, (
            "no padded ping was answered"
        )
        wait_for("it has pinged us, too", lambda: meeting.answered(leaving=False))
        assert {len(each.datagram) for each in meeting.answered(leaving=False)} == {PING_BYTES}
        pongs = [each for each, message in meeting.messages(leaving=False) if isinstance(message, Pong)]
        assert {len(each.datagram) for each in pongs} == {PONG_BYTES}
        assert f"now using {OUTSIDE}:" in meeting.log.read_text(errors="replace")

    def test_each_heard_the_others_call_over_the_relay(self, with_server: Meeting) -> None:
        with_server.goes_direct()
        (candidate,) = [each for each in with_server.node.candidates() if each["endpoint"].startswith(THEIR_OUTSIDE)]
        assert candidate["learned"] == "call-me-maybe"
        pings = [message for _, message in with_server.messages(leaving=False) if isinstance(message, Ping)]
        assert {ping.node_key for ping in pings} == {with_server.peer}

    def test_a_cut_of_udp_leads_to_the_relay_and_its_end_back(
        self, with_server: Meeting, record_property: Callable[[str, object], None]
    ) -> None:
        meeting = with_server
        meeting.goes_direct()
        began = time.monotonic()
        with mishaps.dropping(meeting.lab, "home", mishaps.UDP):
            relayed = meeting.goes_by_relay()
            gap = meeting.talk.gap(began)
        direct = meeting.goes_direct()
        row = {
            "event": "UDP is cut",
            "gap s": f"{gap:.2f}",
            "relay s": f"{relayed:.2f}",
            "direct again s": f"{direct:.2f}",
        }
        record_property("table A conversation with a stock peer", row)
        assert gap < TO_RELAY


def test_a_stock_server_whose_endpoints_are_known_is_reached_directly_within_a_second(
    lab: Lab, relay: MapRelay, tmp_path: Path
) -> None:
    with meet_server(lab, relay, tmp_path, told=True) as meeting:
        meeting.goes_direct()
        for leaving in (True, False):
            assert meeting.trace.of("data", leaving=leaving)[0].at - meeting.talk.began < AT_ONCE


def test_a_stock_client_reaches_our_node_over_the_relay_and_goes_direct(with_client: Meeting) -> None:
    meeting = with_client
    meeting.talk.goes_on(1)
    meeting.goes_direct()
    assert meeting.answered(leaving=True)
    wait_for("it has pinged us, too", lambda: meeting.answered(leaving=False))
    assert f"now using {OUTSIDE}:" in meeting.log.read_text(errors="replace")
    began = time.monotonic()
    with mishaps.dropping(meeting.lab, "home", mishaps.UDP):
        meeting.goes_by_relay()
    meeting.goes_direct()
    assert meeting.talk.gap(began) < TO_RELAY
