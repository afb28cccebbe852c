"""A world of small relays and of nodes with the transport `derp`, in memory or on loopback."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop
from nacl.public import Box, PublicKey
from nacl.public import PrivateKey as BoxKey

from ghostwire import Metrics, RelayContext, Sockets, TransportContext, relay_endpoint
from ghostwire.engine import MILLISECOND, Clock
from ghostwire.keys import NodeKey, PrivateKey, RelayKey
from ghostwire.model import MapRelay, NetworkMap
from ghostwire.node.relay_login import RelayLogin
from ghostwire.testing import Host, Link, Network, SeededEntropy
from ghostwire.testing.contracts.transport import Inbox
from ghostwire_derp import frames
from ghostwire_derp.client.path import DerpPath
from ghostwire_derp.client.transport import DerpTransport
from ghostwire_derp.relay.relay import Relay
from ghostwire_derp.settings import Settings


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What uses real streams runs on both event loops."""
    both = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return both if item.path.name == "test_loopback.py" else {"asyncio": asyncio.new_event_loop}


SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\n\r\n"
PORT = 3478


class Guest(asyncio.Protocol):
    """One client's connection, as a small relay sees it."""

    def __init__(self, relay: SmallRelay) -> None:
        self.relay = relay
        self.key = b""
        self.frames: list[tuple[int, bytes]] = []
        """Whatever the client sent after its login."""
        self.over = False
        self._held, self._upgraded = b"", False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.relay.streams.append(self)

    def data_received(self, data: bytes) -> None:
        self._held += data
        if not self._upgraded:
            head, end, rest = self._held.partition(b"\r\n\r\n")
            if not end or self.relay.mute:
                return
            self.relay.requests.append(head.decode())
            self._held, self._upgraded = rest, True
            self.transport.write(self.relay.answer)
        while len(self._held) >= 5:
            kind, size = struct.unpack_from(">BI", self._held)
            if len(self._held) < 5 + size:
                break
            payload, self._held = self._held[5 : 5 + size], self._held[5 + size :]
            self._take(kind, payload)

    def eof_received(self) -> None:
        self._leave()

    def connection_lost(self, exc: Exception | None) -> None:
        self.relay.streams.remove(self)
        self._leave()

    def _leave(self) -> None:
        if self.over:
            return
        self.over = True
        if self.relay.guests.get(self.key) is self:
            del self.relay.guests[self.key]
        self.relay.world.happened(self.relay, "left", self.key)

    def send(self, kind: int, payload: bytes = b"") -> None:
        self.transport.write(frames.frame(kind, payload))

    def preferred(self) -> list[bytes]:
        """What the client said about its home."""
        return [payload for kind, payload in self.frames if kind == frames.NOTE_PREFERRED]

    def _take(self, kind: int, payload: bytes) -> None:
        if not self.key:
            assert kind == frames.CLIENT_INFO
            return self._login(payload)
        self.frames.append((kind, payload))
        if kind == frames.SEND_PACKET:
            self.relay.carry(self, payload[:32], payload[32:])
        elif kind == frames.PING and not self.relay.mute:
            self.send(frames.PONG, payload)
        return None

    def _login(self, payload: bytes) -> None:
        box = Box(self.relay.private, PublicKey(payload[:32]))
        assert json.loads(box.decrypt(payload[32:])) == {"version": 2, "CanAckPings": True}
        self.key = payload[:32]
        self.relay.guests[self.key] = self
        self.send(frames.SERVER_INFO, bytes(box.encrypt(json.dumps(self.relay.info).encode())))
        self.relay.world.happened(self.relay, "joined", self.key)
        self._keep_alive()

    def _keep_alive(self) -> None:
        if not self.over:
            self.send(frames.KEEP_ALIVE)
            asyncio.get_running_loop().call_later(60, self._keep_alive)


class SmallRelay:
    """A relay that speaks DERP; those of one region pass on to each other. ``mute``: it takes streams, says nothing."""

    def __init__(self, world: World, name: str, region: int, host: Host, record: MapRelay, private: BoxKey) -> None:
        self.world, self.name, self.region, self.host = world, name, region, host
        self.record, self.private = record, private
        self.streams: list[Guest] = []
        self.guests: dict[bytes, Guest] = {}
        self.requests: list[str] = []
        self.info: dict[str, Any] = {"version": 2}
        self.mute = False
        self.tls: ssl.SSLContext | None = None
        self.answer = SWITCHING + frames.frame(frames.SERVER_KEY, frames.MAGIC + bytes(private.public_key))
        self.start()

    def start(self) -> None:
        self.host.listen(PORT, lambda: Guest(self), tls=self.tls)

    def kill(self) -> None:
        """End as kill -9 does."""
        self.host.kill()

    def guest(self, node: Node) -> Guest:
        """The node's connection here."""
        return self.guests[node.key.raw]

    def carry(self, source: Guest, destination: bytes, data: bytes) -> None:
        region = [relay for relay in self.world.relays.values() if relay.region == self.region]
        holders = [self, *(relay for relay in region if relay is not self)]
        target = next((relay.guests[destination] for relay in holders if destination in relay.guests), None)
        if target is None:
            source.send(frames.PEER_GONE, destination + bytes([frames.NOT_HERE]))
        else:
            target.send(frames.RECV_PACKET, source.key + data)


class Door(asyncio.Protocol):
    """Answers the upgrade and attaches the stream to a real relay, as the front door does."""

    def __init__(self, attach: Callable[[asyncio.Transport, bytes], Any]) -> None:
        self._attach, self._held = attach, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        _, end, rest = self._held.partition(b"\r\n\r\n")
        if end:
            self._transport.write(SWITCHING)
            self._attach(self._transport, rest)


class RealRelay:
    """Our own relay on a simulated host."""

    def __init__(self, world: World, host: Host, record: MapRelay, private: BoxKey) -> None:
        self.record, self.host, self.region = record, host, record.region
        self.guests: dict[bytes, Guest] = {}
        context = world.relay_context(clock=world.network.clock)
        context.relaying.private_key = PrivateKey(bytes(private))
        self.relay = Relay(context.relaying, Settings(), context.clock, SeededEntropy(record.name), Metrics())
        host.listen(PORT, lambda: Door(lambda transport, rest: self.relay.attach(transport, "192.0.2.200", rest)))


class Node:
    """A machine with the transport, and what arrived."""

    def __init__(self, name: str, transport: DerpTransport, context: TransportContext, host: Host | None) -> None:
        self.name, self.transport, self.host, self.context = name, transport, host, context
        self.key, self.inbox = context.node_key, Inbox()
        self.addresses: list[str] = []
        """Its machine's; change them in place."""

    async def start(self) -> Node:
        await self.transport.start(self.inbox)
        return self

    def path(self, other: Node, home: int = 0) -> DerpPath:
        return self.transport.path(relay_endpoint(home, other.key))

    def count(self, field: str) -> int:
        return int(self.context.metrics.values()[f"ghostwire_derp_client_{field}_total"])


def context_of(
    name: str,
    sockets: Sockets,
    clock: Clock,
    state: Path,
    *,
    identity: bool = True,
    entropy: Any = None,
    addresses: Sequence[str] = (),
) -> TransportContext:
    """What core would give to the transport of a node of that name."""
    entropy = entropy or SeededEntropy(name)
    key = PrivateKey.generate(entropy)
    return TransportContext(
        settings=Settings(),
        clock=clock,
        entropy=entropy,
        metrics=Metrics(),
        log=logging.getLogger("ghostwire.plugin.derp"),
        sockets=sockets,
        state=state,
        node_key=key.public(NodeKey),
        map=NetworkMap(),
        local_addresses=lambda: addresses,
        identity=RelayLogin(key, lambda raw: False, clock, entropy) if identity else None,
    )


class World:
    """A simulated network with relays and nodes."""

    def __init__(self, state: Path, relay_context: Callable[..., RelayContext]) -> None:
        self.relay_context = relay_context
        self.network = Network(seed=1)
        self.network.default = Link(latency=5 * MILLISECOND)
        self.relays: dict[str, SmallRelay] = {}
        self.nodes: dict[str, Node] = {}
        self.story: list[str] = []
        """Who joined and left which relay, in order: "berlin joined alice"."""
        self._state = state

    def relay(self, name: str, region: int, *, real: bool = False, **fields: Any) -> SmallRelay:
        """One more relay, which runs; a ``real`` one can do less for a test."""
        number = len(self.relays) + 1
        private = BoxKey(SeededEntropy(name)(32))
        record = MapRelay(
            **{
                "id": number,
                "name": name,
                "region": region,
                "region_name": f"region {region}",
                "host": f"192.0.2.{number}",
                "port": PORT,
                "tls": False,
                "key": RelayKey(bytes(private.public_key)),
            }
            | fields
        )
        host = self.network.host(name, f"192.0.2.{number}")
        self.relays[name] = (
            cast("SmallRelay", RealRelay(self, host, record, private))
            if real
            else SmallRelay(self, name, region, host, record, private)
        )
        return self.relays[name]

    @property
    def records(self) -> list[MapRelay]:
        return [relay.record for relay in self.relays.values()]

    def node(self, name: str, home: int | None = None, assigned: int | None = None) -> Node:
        """A node that knows all relays there are now, and has not started."""
        host = self.network.host(name, f"198.51.100.{len(self.nodes) + 1}")
        addresses = [f"198.51.100.{len(self.nodes) + 1}"]
        context = context_of(name, host.sockets, self.network.clock, self._state, addresses=addresses)
        node = self.nodes[name] = Node(name, DerpTransport(context), context, host)
        node.addresses = addresses
        node.transport.use(self.records, home, assigned)
        return node

    async def online(self, name: str, home: int, assigned: int | None = None) -> Node:
        """A node that has started and is connected to its home."""
        node = await self.node(name, home, assigned).start()
        await self.until(lambda: node.transport.connected(home))
        return node

    def happened(self, relay: SmallRelay, what: str, key: bytes) -> None:
        names = {node.key.raw: node.name for node in self.nodes.values()}
        self.story.append(f"{relay.name} {what} {names.get(key, 'nobody')}")

    async def until(self, reached: Callable[[], bool], seconds: float = 30.0) -> float:
        """Let time pass until this holds; how long it took. AssertionError where it takes too long."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not reached():
            assert loop.time() - began < seconds, f"not within {seconds} s; {self.story}"
            await asyncio.sleep(0.005)
        return loop.time() - began

    async def close(self) -> None:
        for node in self.nodes.values():
            await node.transport.close()


@pytest.fixture
def new_world(tmp_path: Path, relay_context: Callable[..., RelayContext]) -> Callable[[], World]:
    """``new_world()``, in a simulation, is an empty `World`."""
    return lambda: World(tmp_path, relay_context)


@pytest.fixture
def online_node() -> type[Node]:
    """The class of a node."""
    return Node


@pytest.fixture
def make_context(tmp_path: Path) -> Callable[..., TransportContext]:
    """``make_context(name, sockets, clock)`` is a node's context."""
    return lambda name, sockets, clock, **options: context_of(name, sockets, clock, tmp_path, **options)
