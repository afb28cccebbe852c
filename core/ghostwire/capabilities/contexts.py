"""What core hands to a provider's ``create``: everything it may use, and nothing more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from ghostwire.capabilities.platform import Device
from ghostwire.capabilities.storage import Transaction
from ghostwire.capabilities.telemetry import Metrics
from ghostwire.capabilities.tunnel import Filter, TunnelEvents
from ghostwire.engine import Clock, Entropy
from ghostwire.errors import PlatformError, Unavailable

if TYPE_CHECKING:  # asyncio and ssl would cost every command line 40 ms
    import asyncio
    import logging
    import socket
    import ssl
    from pathlib import Path as FilePath

    from ghostwire.capabilities.control import ApiAnswer, ApiCall, NodeStream, ServerChallenge
    from ghostwire.capabilities.identity import Identity
    from ghostwire.capabilities.relaying import Relaying
    from ghostwire.keys import NodeKey, PrivateKey
    from ghostwire.model import NetworkMap, Record

T = TypeVar("T")
R = TypeVar("R", bound="Record")
P = TypeVar("P", bound="asyncio.BaseProtocol")


class Listening(Protocol):
    """A port that accepts streams. ``port`` is its number, where any free one was asked for."""

    @property
    def port(self) -> int:
        """The port's number."""

    def close(self) -> None:
        """Accept no more; open streams stay. Harmless when called twice."""


class Sockets(ABC):
    """Makes sockets that never go through the mesh's own exit routes; a test's network has its own."""

    @abstractmethod
    def udp(self, host: str, port: int) -> socket.socket:
        """A bound, non-blocking UDP socket; PlatformError where the port is in use."""

    @abstractmethod
    async def connect(
        self,
        protocol: Callable[[], P],
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> tuple[asyncio.Transport, P]:
        """A stream, as ``loop.create_connection`` makes it; Unavailable where nobody answers.

        ``server_name`` is what TLS asks for where it is not ``host``.
        """

    async def bare(
        self,
        protocol: Callable[[], P],
        host: str,
        port: int,
        *,
        secure: bool = False,
        server_name: str = "",
        refusal: Callable[[str], str] = lambda address: "",
    ) -> tuple[asyncio.Transport, P]:
        """A stream as `connect` makes it, before TLS, which somebody else begins on it where it is to be ``secure``.

        ``refusal`` says why an address of the host's may not be reached, and is empty where it may.
        """
        if why := refusal(host):
            raise Unavailable(f"{host}:{port}: {why}")
        return await self.connect(protocol, host, port)

    async def listen(
        self, protocol: Callable[[], asyncio.BaseProtocol], host: str, port: int, *, tls: ssl.SSLContext | None = None
    ) -> Listening:
        """Accept streams at this address of the machine (port 0: any free one), each with a protocol of its own;
        PlatformError where the port is in use, or where nobody may listen (the default)."""
        raise PlatformError(f"{host}:{port}: there are no listening sockets here")


class Context(msgspec.Struct, frozen=True):
    """What every plugin gets. ``settings`` is the plugin's own typed ``Settings``; ``state`` a private folder."""

    settings: Any
    clock: Clock
    entropy: Entropy
    metrics: Metrics
    log: logging.Logger
    sockets: Sockets
    state: FilePath


class Mesh(Protocol):
    """The one service behind every API of the server."""

    def list(self, kind: type[R]) -> Sequence[R]:
        """All records of this kind, by id, as of the last commit."""

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Change records in one durable transaction (see `Storage.write`); viewers are told."""

    def admits(self, key: NodeKey) -> bool:
        """Whether this node key belongs to the mesh and has not expired."""


class ServerContext(Context, frozen=True):
    """For what runs in the server. ``join_token`` makes a join token of a pre-auth secret.

    ``attach`` takes a node's stream that came by a way of the plugin's own. ``administer(call, key, client)`` answers a
    call of the administration's API by whoever holds this API key, who called from that address; ``admit(key, client)``
    raises a GhostwireError where it would be refused for the key. ``challenge`` answers a client's fresh key, so that
    both sides prove who they are where there is no control session.
    """

    mesh: Mesh
    join_token: Callable[[str], str]
    relaying: Relaying
    attach: Callable[[NodeStream], None]
    administer: Callable[[ApiCall, str, str], Awaitable[ApiAnswer]]
    admit: Callable[[str, str], object]
    challenge: Callable[[bytes], ServerChallenge]


class RelayContext(Context, frozen=True):
    """For what runs in a relay."""

    relaying: Relaying


class NodeContext(Context, frozen=True):
    """For what runs in a node: its public key, a view of the map, the platform's addresses."""

    node_key: NodeKey
    map: NetworkMap
    local_addresses: Callable[[], Sequence[str]]


class TransportContext(NodeContext, frozen=True):
    """For transports. ``identity`` is there for the transport ``derp`` alone.

    ``failed`` tells core that this transport carries nothing any more, and why, in one line: core closes it and starts
    another after a pause.
    """

    identity: Identity | None = None
    failed: Callable[[str], object] = lambda reason: None


class TunnelContext(NodeContext, frozen=True):
    """For tunnels alone, which are trusted like core. ``filter`` None admits everything."""

    private_key: PrivateKey
    device: Device
    filter: Filter | None
    events: TunnelEvents
