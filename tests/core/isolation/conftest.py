"""A third party's transport over datagrams, installed for a test and run in its own process."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ghostwire import Metrics, TransportContext
from ghostwire.config import parse
from ghostwire.keys import NodeKey
from ghostwire.model import NetworkMap
from ghostwire.plugins.host import Host
from ghostwire.plugins.isolation.transport import IsolatedTransport
from ghostwire.plugins.selection import Selection
from ghostwire.system.clock import SystemClock
from ghostwire.system.sockets import SystemSockets

ECHO = """
import asyncio, os
from ghostwire import Path, Provider, Transport, hookimpl

class LoopPath(Path):
    transport, relayed = "loop", False
    def __init__(self, owner, address):
        self.owner, self.address = owner, address
        self.endpoint = f"{address[0]}:{address[1]}"
    def send(self, datagrams):
        return self.owner.send(self.address, datagrams)
    def __eq__(self, other):
        return isinstance(other, LoopPath) and self.address == other.address
    def __hash__(self):
        return hash(self.address)

class Loop(Transport):
    name = "loop"
    def __init__(self, context):
        self.context, self.socket = context, None
    async def start(self, receive):
        self.receive = receive
        self.socket = self.context.sockets.udp("127.0.0.1", 0)
        self.port = self.socket.getsockname()[1]
        self.socket.setsockopt(1, 8, 1 << 22)
        asyncio.get_running_loop().add_reader(self.socket.fileno(), self.read)
    def read(self):
        for _ in range(64):
            try:
                data, address = self.socket.recvfrom(65535)
            except OSError:
                return
            self.receive(LoopPath(self, address), [data])
    def send(self, address, datagrams):
        if self.socket is None:
            return False
        try:
            for each in datagrams:
                self.socket.sendto(each, address)
        except OSError:
            return False
        return True
    def endpoints(self):
        return [f"127.0.0.1:{self.port}"]
    def path(self, endpoint):
        host, colon, port = endpoint.rpartition(":")
        if not host or not port.isdigit() or host.count(":"):
            raise ValueError(endpoint)
        return LoopPath(self, (host, int(port)))
    async def close(self):
        if self.socket is not None:
            asyncio.get_running_loop().remove_reader(self.socket.fileno())
            self.socket.close()
            self.socket = None

@hookimpl
def ghostwire_transports():
    yield Provider("loop", Loop, rank=-7)
"""

NODE_KEY = NodeKey(os.urandom(32))

Make = Callable[..., IsolatedTransport]


def hostof(settings: str = "") -> Host:
    return Host.compose("node", Selection(parse(f"[plugin.pigeon]\n{settings}", "gw.toml"), ()))


@pytest.fixture
def make(install: Callable[..., Path], tmp_path: Path) -> Make:
    """``make(source)`` gives the isolated transport that the plugin ``pigeon`` of this source offers."""
    installed: list[str] = []

    def make(source: str = ECHO, *, settings: str = "", failed: Callable[[str], object] = print) -> IsolatedTransport:
        if not installed:
            install("pigeon", source)
            installed.append(source)
        host = hostof(settings)
        (offer,) = (offer for offer in host.offers("ghostwire_transports") if offer.plugin == "pigeon")
        return host.create(offer, lambda plugin, table: context(tmp_path, table, failed))

    return make


def context(tmp_path: Path, table: object, failed: Callable[[str], object] = print) -> TransportContext:
    state = tmp_path / "pigeon"
    state.mkdir(mode=0o700, exist_ok=True)
    return TransportContext(
        settings=table,
        clock=SystemClock(),
        entropy=os.urandom,
        metrics=Metrics(),
        log=logging.getLogger("ghostwire.node.pigeon"),
        sockets=SystemSockets(),
        state=state,
        node_key=NODE_KEY,
        map=NetworkMap(),
        local_addresses=lambda: ("127.0.0.1",),
        failed=failed,
    )
