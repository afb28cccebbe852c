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


async def until(happened: Callable[[], Any], seconds: float = 20) -> None:
    """Let the loop run until it happened."""
    async with asyncio.timeout(seconds):
        while not happened():
            await asyncio.sleep(0.005)
