"""A server behind a front door and a node, in a simulated network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ghostwire.frontdoor import FrontDoor
from ghostwire.keys import ControlKey, DiscoKey, NodeKey, PrivateKey
from ghostwire.server.channel import ControlStream, ControlUpgrade, Limits
from ghostwire.testing import Network, SeededEntropy, running_clock
from ghostwire.uplink.channel import Channel, connect
from ghostwire.wire.messages import Hello, decode_to_node, encode
from ghostwire.wire.session import ControlSession

HEAD = b"GET /control HTTP/1.1\r\nHost: s\r\nConnection: upgrade\r\nUpgrade: ghostwire-control\r\n\r\n"


async def not_found(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


class Rig:
    """``streams`` are those whose hello came; ``inbox`` what their nodes said since; ``ended`` why they ended."""

    url = "http://server.example:8080"

    def __init__(self, limits: Limits | None = None, on_stream: Callable[[ControlStream], None] | None = None) -> None:
        self.entropy = SeededEntropy("rig")
        self.control, self.machine, self.node_key, self.disco = (PrivateKey.generate(self.entropy) for _ in range(4))
        self.network = Network(seed=1)
        self.server = self.network.host("server.example", "192.0.2.1")
        self.host = self.network.host("node", "192.0.2.2")
        self.streams: list[ControlStream] = []
        self.inbox: list[Any] = []
        self.ended: list[str] = []
        self.upgrade = ControlUpgrade(self.control, self.entropy, on_stream or self._accept, limits=limits)
        self.door = FrontDoor(not_found, [self.upgrade], clock=running_clock())
        self.server.listen(8080, self.door.protocol_factory())

    def _accept(self, stream: ControlStream) -> None:
        self.streams.append(stream)
        stream.on_message(self.inbox.append)
        stream.on_closed(lambda: self.ended.append(stream.reason))

    async def connect(self, url: str = "", control: PrivateKey | None = None) -> Channel:
        key = (control or self.control).public(ControlKey)
        return await connect(url or self.url, self.machine, key, self.host.sockets, self.entropy)

    async def join(self) -> Channel:
        channel = await self.connect()
        assert channel.send(self.hello(channel))
        return channel

    async def raw(self) -> RawNode:
        """A node that does only what the test says, its handshake done."""
        session = ControlSession.initiator(self.machine, self.control.public(ControlKey), self.entropy)
        node = RawNode(session)
        await self.host.sockets.connect(lambda: node, "server.example", 8080)
        await node.ready
        return node

    async def raw_member(self) -> RawNode:
        """A raw node whose hello was said and heard."""
        node = await self.raw()
        node.say(self.hello(node.session))
        await asyncio.sleep(1)
        return node

    def hello(self, channel: Channel | ControlSession) -> Hello:
        return Hello(
            protocol=1,
            node_key=self.node_key.public(NodeKey),
            disco_key=self.disco.public(DiscoKey),
            proof=channel.prove(self.node_key),
        )


class RawNode(asyncio.Protocol):
    """Speaks the session, and nothing on its own account; ``heard`` are the decoded messages it got."""

    def __init__(self, session: ControlSession) -> None:
        self.session = session
        self.heard: list[Any] = []
        self.head = b""
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.transport.write(HEAD)

    def data_received(self, data: bytes) -> None:
        if b"\r\n\r\n" not in self.head:
            self.head, end, data = (self.head + data).partition(b"\r\n\r\n")
            self.head += end
            self.transport.write(self.session.outgoing())
        self.heard += [decode_to_node(frame) for frame in self.session.receive(data)]
        if self.session.established and not self.ready.done():
            self.ready.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)
        if not self.ready.done():
            self.ready.cancel()

    def say(self, *said: Any) -> None:
        """Send messages, or frames that are none."""
        for item in said:
            self.session.send(item if isinstance(item, bytes) else encode(item))
        self.transport.write(self.session.outgoing())


@pytest.fixture
def make_rig() -> type[Rig]:
    return Rig
