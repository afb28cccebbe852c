"""Our tunnel and boringtun over loopback sockets: its client initiates towards us, we initiate towards its server."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ghostwire import Metrics, NetworkConfig, NodeContext, Sockets, TunnelContext, TunnelPeer
from ghostwire import Path as Way
from ghostwire.keys import NodeKey, PrivateKey
from ghostwire.model import NetworkMap
from ghostwire.system.clock import SystemClock
from ghostwire.testing import MemoryDevice
from ghostwire_transport_wireguard.settings import Settings
from ghostwire_transport_wireguard.tunnel import UserspaceTunnel
from ghostwire_transport_wireguard.udp import UdpTransport

pytestmark = pytest.mark.real

OURS, THEIRS, BEHIND = "100.64.0.3", "100.64.0.9", "100.64.0.77"


class LoopbackSockets(Sockets):
    def udp(self, host: str, port: int) -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        made.setblocking(False)
        made.bind(("::1" if ":" in host else "127.0.0.1", port))
        return made

    async def connect(self, protocol: Any, host: str, port: int, *, tls: Any = None) -> Any:
        raise AssertionError("a tunnel opens no streams")


class Node:
    """Our tunnel over `udp`, with a device in memory behind it."""

    def __init__(self, state: Path) -> None:
        self.key, clock = PrivateKey.generate(), SystemClock()
        self.handshakes = 0
        self.device = MemoryDevice("gw0", 1280, clock)
        self.device.config = NetworkConfig("gw0", 1280, (f"{OURS}/32",), ("100.64.0.0/16",))
        shared: dict[str, Any] = {
            "settings": Settings(port=0),
            "clock": clock,
            "entropy": os.urandom,
            "metrics": Metrics(),
            "log": logging.getLogger("interop"),
            "sockets": LoopbackSockets(),
            "state": state,
            "node_key": self.key.public(NodeKey),
            "map": NetworkMap(),
            "local_addresses": lambda: ["127.0.0.1"],
        }
        self.udp = UdpTransport(NodeContext(**shared))
        self.tunnel = UserspaceTunnel(
            TunnelContext(**shared, private_key=self.key, device=self.device, filter=None, events=self)
        )

    def awake(self, peer: int) -> None: ...

    def wanted(self, peer: int) -> None: ...

    def authenticated(self, peer: int, source: Way) -> None:
        self.tunnel.attach(peer, [source])

    def established(self, peer: int, source: Way) -> None:
        self.handshakes += 1

    async def start(self) -> None:
        await self.tunnel.start()
        await self.udp.start(self.tunnel.receive)

    def meet(self, public: bytes, *allowed: str, preshared: bytes | None = None) -> None:
        prefixes = tuple(ipaddress.ip_network(text) for text in allowed)
        self.tunnel.apply([TunnelPeer(1, NodeKey(public), prefixes, preshared_key=preshared)])

    async def close(self) -> None:
        await self.udp.close()
        await self.tunnel.close()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path)
    await node.start()
    yield node
    await node.close()


def text(key: bytes) -> str:
    return base64.b64encode(key).decode()


@pytest.fixture
def client(node: Node) -> Callable[..., Any]:
    """Starts boringtun's client, which initiates at once."""
    native = pytest.importorskip("wireguard_requests._native", reason="needs PyPI's wireguard-requests (boringtun)")

    def start(key: PrivateKey, preshared: bytes | None = None) -> Any:
        peer = native.WgPeer(
            public_key=text(node.key.public_raw),
            endpoint=node.udp.endpoints()[0],
            allowed_ips=["100.64.0.0/16"],
            preshared_key=None if preshared is None else text(preshared),
        )
        return native.WgTunnel(native.WgConfig(private_key=text(key.raw), address=THEIRS, peers=[peer], mtu=1280))

    return start


@pytest.mark.parametrize("preshared", [None, bytes(range(32))], ids=["", "preshared key"])
async def test_boringtun_initiates_and_packets_flow_both_ways(node: Node, client: Any, preshared: bytes | None) -> None:
    key = PrivateKey.generate()
    node.meet(key.public_raw, f"{THEIRS}/32", preshared=preshared)
    tunnel = await asyncio.to_thread(client, key, preshared)
    try:
        port, inbox = await asyncio.to_thread(tunnel.create_udp_socket, 0), node.device.udp(9)
        port.set_timeout(10.0)
        for size in (1, 700, 1200):
            await asyncio.to_thread(port.send_to, b"q" * size, (OURS, 9))
            question = await inbox.receive()
            assert (question.source, question.data) == (THEIRS, b"q" * size)
            inbox.send(THEIRS, question.port, b"a" * size)
            answer, source = await asyncio.to_thread(port.recv_from, 2000)
            assert (bytes(answer), source) == (b"a" * size, (OURS, 9))
        await asyncio.to_thread(port.close)
    finally:
        await asyncio.to_thread(tunnel.close)
    assert node.handshakes == 1
    assert node.tunnel.counters.initiations == 0
    assert node.tunnel.counters.forged == node.tunnel.counters.bad_packet == 0


async def test_we_initiate_towards_boringtun_and_packets_flow_both_ways(node: Node) -> None:
    wireguard = pytest.importorskip("mitmproxy_rs", reason="needs PyPI's mitmproxy-rs (boringtun)").wireguard
    key = PrivateKey.generate()

    async def echo(stream: Any) -> None:
        while data := await stream.read(65_536):
            stream.write(data.upper())
            await stream.drain()

    clients = [text(node.key.public_raw)]
    server = await wireguard.start_wireguard_server("127.0.0.1", 0, text(key.raw), clients, echo, echo)
    try:
        host, port = server.getsockname()
        node.meet(key.public_raw, f"{BEHIND}/32")
        node.tunnel.attach(1, [node.udp.path(f"{host}:{port}")])
        outbox = node.device.udp(4000)
        for size in (1, 700, 1200):
            outbox.send(BEHIND, 7, b"q" * size)
            answer = await outbox.receive()
            assert (answer.source, answer.port, answer.data) == (BEHIND, 7, b"Q" * size)
    finally:
        server.close()
        await server.wait_closed()
    assert node.handshakes == 1
    assert node.tunnel.counters.initiations == 1
    assert node.tunnel.counters.forged == node.tunnel.counters.bad_packet == 0
