"""Nodes with the transport on simulated hosts, or on loopback."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from ghostwire import Metrics, Sockets, TransportContext
from ghostwire.engine import Clock, Entropy
from ghostwire.keys import NodeKey
from ghostwire.model import NetworkMap
from ghostwire.testing import Host, Network, SeededEntropy, running_clock
from ghostwire.testing.contracts.transport import Inbox
from ghostwire_websocket.settings import Settings
from ghostwire_websocket.transport import WebSocketTransport

Make = Callable[..., WebSocketTransport]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """``make(sockets, clock, settings, entropy=..., name=...)``: a transport whose state is kept by name."""

    def make(
        sockets: Sockets, clock: Clock, settings: Settings, *, entropy: Entropy = os.urandom, name: str = ""
    ) -> WebSocketTransport:
        state = tmp_path / (name or f"node{len(list(tmp_path.iterdir()))}")
        state.mkdir(exist_ok=True)
        context = TransportContext(
            settings=settings,
            clock=clock,
            entropy=entropy,
            metrics=Metrics(),
            log=logging.getLogger("test"),
            sockets=sockets,
            state=state,
            node_key=NodeKey(bytes(32)),
            map=NetworkMap(),
            local_addresses=lambda: (),
        )
        return WebSocketTransport(context)

    return make


class World:
    """Nodes on a simulated network: ``b`` listens, others only dial unless they are told to listen too."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self.network = Network(seed=1)
        self.inboxes: dict[str, Inbox] = {}
        self.hosts: dict[str, Host] = {}

    async def node(self, name: str, *, listens: bool = False, **settings: Any) -> WebSocketTransport:
        """A started node on a host of its own."""
        address = f"192.0.2.{len(self.hosts) + 1}"
        host = self.hosts[name] = self.network.host(name, address)
        if listens:
            settings |= {"listen": f"{address}:8642", "url": f"ws://{address}:8642/mesh"}
        entropy = SeededEntropy(name)
        transport = self._make(
            host.sockets, running_clock(), Settings(plain=True, **settings), entropy=entropy, name=name
        )
        self.inboxes[name] = Inbox()
        await transport.start(self.inboxes[name])
        return transport

    async def arrived(self, name: str, number: int) -> list[bytes]:
        """What a node received, once it is so many."""
        async with asyncio.timeout(60):
            await self.inboxes[name].count(number)
        return self.inboxes[name].datagrams


@pytest.fixture
def new_world(make: Make) -> Callable[[], World]:
    """Makes a world inside a simulation."""
    return lambda: World(make)
