"""What a node is composed of: every part comes from outside, so that a whole mesh runs in memory."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Protocol

from ghostwire import Metrics, Platform, Provider, Service, Sockets, Transport, Tunnel
from ghostwire.engine import Clock, Entropy
from ghostwire.keys import ControlKey, PrivateKey
from ghostwire.wire.messages import Host


class Channel(Protocol):
    """An open control channel: the Noise session with the server, carrying messages."""

    def send(self, message: Any, /) -> bool:
        """Queue a message; False where the server reads too slowly."""

    async def receive(self) -> Any:
        """The server's next message; Unavailable when the channel has ended. A cancelled call loses nothing."""

    def prove(self, node_key: PrivateKey, /) -> bytes:
        """The proof that this side holds the node key, for Hello."""

    async def close(self) -> None:
        """End the channel; harmless when called twice."""


class Connect(Protocol):
    """Opens a channel: `ghostwire.node.channel.connect`."""

    def __call__(
        self, url: str, machine_key: PrivateKey, server_key: ControlKey, sockets: Sockets, entropy: Entropy, /
    ) -> Awaitable[Channel]:
        """Unavailable where nobody answers; RemoteProtocolError or AuthenticationFailed where another server does."""


Echo = Callable[[str, float], Awaitable[float]]
"""One ICMP echo to an address within seconds; gives the round trip in seconds, Unavailable without an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A node's parts.

    ``state`` is its private folder (it exists, mode 0700). ``transports``, ``tunnel`` and ``services`` are made
    anew at each `up`, from a NodeContext (a TunnelContext) whose ``settings`` are None: who needs settings wraps
    ``create``.
    """

    state: FilePath
    transports: Sequence[Provider[Transport]]
    tunnel: Provider[Tunnel]
    platform: Platform
    sockets: Sockets
    clock: Clock
    entropy: Entropy
    connect: Connect
    echo: Echo
    services: Sequence[Provider[Service]] = ()
    host: Host = field(default_factory=Host)
    interface: str = "gw0"
    mtu: int = 1280
    metrics: Metrics = field(default_factory=Metrics)
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("ghostwire.node"))
