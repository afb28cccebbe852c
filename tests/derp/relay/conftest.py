"""A relay's engine in memory: guests whose streams a test controls, in manual time."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import uvloop
from nacl.public import Box
from nacl.public import PrivateKey as BoxKey
from nacl.public import PublicKey as BoxPublicKey

from ghostwire import Buffer, Fellows, Load, Relaying, Siblings
from ghostwire.engine import SECOND
from ghostwire.keys import NodeKey, PrivateKey
from ghostwire.testing.clock import ManualClock, SeededEntropy
from ghostwire_derp.frames import CLIENT_INFO, DISCO_MAGIC, SEND_PACKET, SERVER_INFO, SERVER_KEY, frame
from ghostwire_derp.relay.arena import READ_BYTES
from ghostwire_derp.relay.inlet import Inlet
from ghostwire_derp.relay.limits import Limits
from ghostwire_derp.relay.router import Router
from ghostwire_derp.settings import Settings

Frame = tuple[int, bytes]


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The drivers are tested on both event loops."""
    both = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return both if item.path.name == "test_drivers.py" else {"asyncio": asyncio.new_event_loop}


class Admitting(Relaying):
    """A program that admits every key but those refused."""

    budget = 0

    def __init__(self) -> None:
        self.private_key = PrivateKey(b"relay's private key, 32 bytes   ")
        self.refused: set[NodeKey] = set()
        self.removed: list[Callable[[Sequence[NodeKey]], None]] = []
        self.mesh = Siblings()
        self.fellows = Fellows()
        self.measured: Callable[[], Load] | None = None

    def admits(self, key: NodeKey) -> bool:
        return key not in self.refused

    def on_removed(self, removed: Callable[[Sequence[NodeKey]], None]) -> None:
        self.removed.append(removed)

    @property
    def siblings(self) -> Siblings:
        return self.mesh

    def on_siblings(self, changed: Callable[[], None]) -> None:
        pass

    def announce(self, *, stun_port: int) -> None:
        pass

    def measure(self, load: Callable[[], Load]) -> None:
        self.measured = load


def frames_of(data: Buffer) -> tuple[list[Frame], bytes]:
    """The whole frames at the head of a byte stream, and what is left."""
    found, data = [], bytes(data)
    while len(data) >= 5:
        kind, length = struct.unpack_from(">BI", data)
        if len(data) < 5 + length:
            break
        found.append((kind, data[5 : 5 + length]))
        data = data[5 + length :]
    return found, data


def packet(destination: bytes, data: bytes = b"data") -> bytes:
    """A SendPacket frame."""
    return frame(SEND_PACKET, destination + data)


def disco(text: bytes = b"ping") -> bytes:
    """What looks like a path-discovery packet to a relay."""
    return DISCO_MAGIC + bytes(56) + text


def login(key: BoxKey, server: bytes, **info: Any) -> bytes:
    """A ClientInfo frame."""
    text = json.dumps({"version": 2, "CanAckPings": True} | info).encode()
    box = Box(key, BoxPublicKey(server)).encrypt(text, bytes(24))
    return frame(CLIENT_INFO, bytes(key.public_key) + bytes(box))


class Guest(Inlet):
    """A stream as the relay sees it, and the client at its other end. ``room`` is what the stream takes; None: all."""

    def __init__(self, house: House, key: BoxKey, address: str) -> None:
        super().__init__()
        self.house, self.private = house, key
        self.room: int | None = None
        self.waiting, self.written = b"", b""
        self.paused = self.closed = self.watched = self.broken = False
        owner = house.router.accept(self, address)
        self.refused = owner is None
        if owner is not None:
            self.owner = owner

    @property
    def key(self) -> bytes:
        return bytes(self.private.public_key)

    # What the relay calls

    def write(self, buffers: list[Buffer]) -> int:
        if self.broken:
            raise BrokenPipeError
        data = b"".join(buffers)
        taken = len(data) if self.room is None else min(self.room, len(data))
        self.written += data[:taken]
        if self.room is not None:
            self.room -= taken
        return taken

    def watch(self, writable: bool) -> None:
        self.watched = writable

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closed = True

    # What a test calls

    def send(self, *frames: bytes) -> None:
        """Send, and let the relay do a pass."""
        self.waiting += b"".join(frames)
        self.house.turn()

    def login(self, **info: Any) -> list[Frame]:
        """Log in; what the relay said."""
        self.send(login(self.private, self.house.relaying.private_key.public_raw, **info))
        return self.heard()

    def heard(self) -> list[Frame]:
        """The frames that arrived since the last call."""
        found, self.written = frames_of(self.written)
        return found

    def take(self, room: int | None) -> None:
        """Read as many bytes as that; None for all from now on."""
        self.room = room
        if self.watched:
            self.owner.resume()

    def hang_up(self) -> None:
        """End the stream from the far side."""
        self.house.router.begin(self.house.clock.now())
        self.owner.lost()
        self.house.turn()


class House:
    """A router, its time and its guests."""

    def __init__(self, limits: Limits | None = None, settings: Settings | None = None) -> None:
        self.relaying, self.clock = Admitting(), ManualClock()
        self.router = Router(self.relaying, settings or Settings(), SeededEntropy("relay"), limits)
        self.counters, self.peers = self.router.counters, self.router.peers
        self.guests: list[Guest] = []
        self._keys = SeededEntropy("guests")
        self.router.begin(self.clock.now())

    def connect(self, key: BoxKey | None = None, address: str = "192.0.2.1") -> Guest:
        """A stream that has not logged in."""
        guest = Guest(self, key or BoxKey(self._keys(32)), address)
        if not guest.refused:
            self.guests.append(guest)
        self.turn()
        return guest

    def join(self, key: BoxKey | None = None, address: str = "192.0.2.1", **info: Any) -> Guest:
        """A client that has logged in."""
        guest = self.connect(key, address)
        heard = guest.login(**info)
        self.run(0.001)  # where many log in at once
        assert [kind for kind, _ in heard + guest.heard()] == [SERVER_KEY, SERVER_INFO]
        return guest

    def turn(self) -> None:
        """A pass: read everybody who may be read, then settle; until nobody has anything left."""
        self.router.begin(self.clock.now())
        while sum(map(self._read, self.guests)):
            self.router.settle()
        self.router.settle()

    def _read(self, guest: Guest) -> bool:
        if guest.closed or guest.paused or not (guest.waiting or guest.kept):
            return False
        before = (len(guest.waiting), len(guest.kept), guest.missing)
        data, guest.waiting = guest.waiting[:READ_BYTES], guest.waiting[READ_BYTES:]
        self.feed(guest, data)
        return (len(guest.waiting), len(guest.kept), guest.missing) != before

    def feed(self, guest: Guest, data: bytes) -> None:
        """Do what a driver does with bytes that it read."""
        arena, kept = self.router.arena, len(guest.kept)
        if arena.room < kept + len(data):
            self.router.outgoing.flush()
        start = arena.used + kept
        arena.view[start : start + len(data)] = data
        guest.parse(arena, len(data))
        self.router.received(guest.owner, len(data))

    def run(self, seconds: float) -> None:
        """Let time pass, deadline by deadline."""
        end = self.clock.now() + round(seconds * SECOND)
        while (deadline := self.router.deadline()) is not None and deadline <= end:
            self.clock.advance(max(0, deadline - self.clock.now()))
            self.router.advance(self.clock.now())
            self.turn()
        self.clock.advance(end - self.clock.now())
        self.turn()


class Tools:
    """What tests make frames of."""

    House = House
    packet = staticmethod(packet)
    disco = staticmethod(disco)
    login = staticmethod(login)
    frames_of = staticmethod(frames_of)
    Admitting = Admitting


@pytest.fixture(scope="session")
def tools() -> type[Tools]:
    """Frames, and houses of one's own."""
    return Tools


@pytest.fixture
def house() -> House:
    """A relay with the limits that it has by default."""
    return House()
