"""Disco as stock magicsock speaks it, byte for byte: a `tailcat` is told by hand, in our codec's words, and answers.

By a UDP socket behind one router and over our relay, to a tailcat behind another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from derpclient import DerpClient
from meow import disco_key, introduce, server_key
from natlab import Lab
from programs import Relay
from stock import NO_TAILCAT, REGION, MapServer, Tailcat, derp_map, find_tailcat

from ghostwire import SEALED_MTU
from ghostwire.keys import DiscoKey, NodeKey, PrivateKey
from ghostwire.wire.box import Box
from ghostwire.wire.disco import (
    ENDPOINT_BYTES,
    HEAD_BYTES,
    MAX_CALLED,
    PING_BYTES,
    PONG_BYTES,
    CallMeMaybe,
    Message,
    Ping,
    Pong,
    seal,
    sender,
    unseal,
)

RELAY, OURS, THEIRS = "10.50.0.11", "home1", "office1"
OUTSIDE = "10.50.1.1"

pytestmark = [pytest.mark.real, pytest.mark.skipif(not find_tailcat(), reason=NO_TAILCAT)]


@pytest.fixture(scope="module")
def lab(make_lab: Callable[[], Lab], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Our relay, which tailcat finds in its DERP map, and two routers."""
    lab = make_lab()
    lab.host("relay", RELAY)
    lab.site("home", "port_restricted")
    lab.site("office", "port_restricted")
    lab.build()
    relay = Relay(lab, "relay", tmp_path_factory.mktemp("relay"), 443)
    relay.start()
    served = MapServer(lab, THEIRS, derp_map(RELAY, relay.port, relay.pin))
    yield lab
    served.close()


class Bare:
    """Disco spoken with a tailcat by hand, by our codec: from a UDP socket behind our router, and over the relay."""

    def __init__(self, lab: Lab, peer: NodeKey, endpoint: str) -> None:
        own, disco = PrivateKey.generate(), PrivateKey.generate()
        introduce(lab, OURS, RELAY, own, disco, peer)
        self.peer, self.node_key, self._disco = peer, own.public(NodeKey), disco.public(DiscoKey)
        self._box = Box(disco, peer.raw)
        self._relay = DerpClient(lab, OURS, RELAY, key=own.raw)
        self._socket = lab.socket(OURS)
        self._socket.settimeout(5)
        self._socket.bind((lab.addresses[OURS], 0))
        host, _, port = endpoint.rpartition(":")
        self._target = host, int(port)

    @property
    def outside(self) -> str:
        """Where the router maps the socket to: it keeps ports."""
        return f"{OUTSIDE}:{self._socket.getsockname()[1]}"

    def sealed(self, message: Message) -> bytes:
        return seal(message, self._disco, self._box, os.urandom)

    def boxed(self, message: bytes) -> bytes:
        """A datagram with any bytes as its message."""
        return self.sealed(Ping(bytes(12)))[:HEAD_BYTES] + self._box.seal(message, os.urandom)

    def send(self, datagram: bytes) -> None:
        self._socket.sendto(datagram, self._target)

    def call(self, *endpoints: str) -> None:
        self.send_relayed(self.sealed(CallMeMaybe(endpoints)))

    def send_relayed(self, datagram: bytes) -> None:
        self._relay.send(self.peer.raw, datagram)

    def ping(self, padding: int = 0) -> bytes:
        """Send a ping; its transaction."""
        transaction = os.urandom(12)
        self.send(self.sealed(Ping(transaction, self.node_key, padding)))
        return transaction

    def relayed_ping(self) -> bytes:
        transaction = os.urandom(12)
        self.send_relayed(self.sealed(Ping(transaction, self.node_key)))
        return transaction

    def receive(self) -> tuple[int, Message | None]:
        """Length and message of the next datagram."""
        datagram = self._socket.recv(1 << 16)
        return len(datagram), self._opened(datagram)

    def pong(self) -> tuple[int, Pong]:
        """The next pong, past pings."""
        while True:
            size, message = self.receive()
            if isinstance(message, Pong):
                return size, message

    def pinged(self) -> Ping:
        """The next ping, past pongs."""
        while True:
            _, message = self.receive()
            if isinstance(message, Ping):
                return message

    def relayed(self) -> Message | None:
        source, data = self._relay.receive()
        assert source == self.peer.raw
        return self._opened(data)

    def _opened(self, datagram: bytes) -> Message | None:
        assert sender(datagram) == disco_key(self.peer)
        return unseal(datagram, self._box)

    def close(self) -> None:
        self._relay.close()
        self._socket.close()


@pytest.fixture
def bare(lab: Lab, tmp_path: Path) -> Iterator[Bare]:
    """It takes us for a client of its, and we know from its log where it is."""
    with Tailcat(lab, THEIRS, tmp_path) as tailcat:
        tailcat.ready()
        bare = Bare(lab, server_key(tailcat.address), tailcat.endpoint())
        yield bare
        bare.close()


def opened(bare: Bare) -> Bare:
    """Both routers let the two talk: ours since we sent, theirs since our call made it ping."""
    bare.ping()
    bare.call(bare.outside)
    assert bare.pinged().node_key == bare.peer
    return bare


def test_a_stock_peer_pings_what_a_call_of_ours_names(bare: Bare) -> None:
    bare.ping()
    others = [f"10.50.77.{number}:{1000 + number}" for number in range(1, MAX_CALLED)]
    bare.call(*others, bare.outside)
    ping = bare.pinged()
    assert ping.node_key == bare.peer
    assert ping.padding == 0


@pytest.mark.parametrize("size", [PING_BYTES, SEALED_MTU, 1400])
def test_a_stock_peer_answers_a_ping_of_any_length_by_a_pong_of_one(bare: Bare, size: int) -> None:
    transaction = opened(bare).ping(size - PING_BYTES)
    length, pong = bare.pong()
    while pong.transaction != transaction:
        length, pong = bare.pong()
    assert length == PONG_BYTES
    assert pong.source == bare.outside


def test_a_stock_peer_answers_a_ping_over_the_relay_there(bare: Bare) -> None:
    transaction = bare.relayed_ping()
    pong = bare.relayed()
    while not isinstance(pong, Pong):
        pong = bare.relayed()
    assert pong.transaction == transaction
    assert pong.source == f"127.3.3.40:{REGION}"


def test_a_stock_peer_passes_over_what_it_does_not_know(bare: Bare) -> None:
    """As ours does, and goes on: an unknown type, a message of one byte, a box that does not open."""
    opened(bare)
    unwanted = os.urandom(12)
    ping = unwanted + bare.node_key.raw
    strange = bare.boxed(b"\x7f\x00" + ping), bare.boxed(b"\x01"), bare.sealed(Ping(unwanted))[:-1] + b"?"
    for datagram in strange:
        bare.send(datagram)
    wanted = bare.ping()
    heard = [bare.pong()[1].transaction]
    while heard[-1] != wanted:
        heard.append(bare.pong()[1].transaction)
    assert unwanted not in heard


def test_a_stock_peer_reads_a_ping_of_a_later_version_as_one_of_this(bare: Bare) -> None:
    transaction = os.urandom(12)
    opened(bare).send(bare.boxed(b"\x01\x05" + transaction + bare.node_key.raw + b"and more"))
    while bare.pong()[1].transaction != transaction:
        pass


def test_a_stock_peer_takes_a_call_with_no_endpoint_of_sound_length_for_none(bare: Bare) -> None:
    """It wants whole endpoints, as our decoder does; the next call counts."""
    bare.ping()
    bare.send_relayed(bare.boxed(b"\x03\x00" + bytes(ENDPOINT_BYTES - 1)))
    bare.call(bare.outside)
    assert bare.pinged().node_key == bare.peer
