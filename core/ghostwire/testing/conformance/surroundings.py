"""What a plugin under judgement is given: contexts as core makes them, over sockets of loopback."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import Any

from ghostwire.capabilities.contexts import Context, Listening, TransportContext
from ghostwire.capabilities.identity import Identity
from ghostwire.capabilities.telemetry import Metrics
from ghostwire.engine import Clock, Entropy
from ghostwire.keys import NodeKey, PrivateKey
from ghostwire.model import NetworkMap
from ghostwire.system.clock import SystemClock
from ghostwire.system.sockets import SystemSockets

ANY = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}
"""What stands for every address, and the one of loopback that it becomes here."""


class LoopbackSockets(SystemSockets):
    """Sockets of loopback. A port that is asked for becomes a free one, and stays the same when it is asked for again,
    so that many objects of the same settings live on one machine: a transport must advertise the port that it got."""

    def __init__(self) -> None:
        super().__init__()
        self._ports: dict[tuple[str, int], int] = {}

    def udp(self, host: str, port: int) -> socket.socket:
        """A bound UDP socket."""
        made = super().udp(ANY.get(host, host), self._ports.get(("udp", port), 0) if port else 0)
        if port:
            self._ports["udp", port] = made.getsockname()[1]
        return made

    async def listen(self, protocol: Any, host: str, port: int, *, tls: Any = None) -> Listening:
        """Accept streams."""
        wanted = self._ports.get(("tcp", port), 0) if port else 0
        door = await super().listen(protocol, ANY.get(host, host), wanted, tls=tls)
        if port:
            self._ports["tcp", port] = door.port
        return door


def context(settings: Any, state: Path) -> Context:
    """What every plugin gets."""
    return Context(
        settings=settings,
        clock=SystemClock(),
        entropy=os.urandom,
        metrics=Metrics(),
        log=logging.getLogger("ghostwire.conformance"),
        sockets=LoopbackSockets(),
        state=state,
    )


def transport_context(settings: Any, state: Path, **changes: Any) -> TransportContext:
    """What transports get: a key of their own, an empty map, loopback as the machine's only address."""
    common = context(settings, state)
    fields = {name: getattr(common, name) for name in common.__struct_fields__}
    defaults = {
        "node_key": PrivateKey.generate().public(NodeKey),
        "map": NetworkMap(),
        "local_addresses": lambda: ["127.0.0.1"],
    }
    return TransportContext(**{**fields, **defaults, **changes})


def login(key: PrivateKey, clock: Clock, entropy: Entropy) -> Identity:
    """What core gives to the transport ``derp``: logs in to any relay in the name of this key."""
    from ghostwire.node.relay_login import RelayLogin

    return RelayLogin(key, lambda raw: False, clock, entropy)
