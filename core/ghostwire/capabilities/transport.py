"""Transports carry sealed datagrams between nodes, and only those.

A transport never sees plaintext, a private key or the TUN device. Every call takes a burst of up to `BURST`
datagrams; sends never wait, and what cannot be sent at once is dropped and counted.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ghostwire.keys import NodeKey
    from ghostwire.model import MapRelay

Buffer = bytes | bytearray | memoryview

BURST = 64
"""The most datagrams or packets one call carries."""

MESH_MTU = 1280
SEALED_MTU = MESH_MTU + 32
"""What every transport must carry in one datagram: a full packet and WireGuard's 32 bytes."""


class Path(ABC):
    """One way to reach one remote end over one transport. Paths to the same end compare equal and hash alike."""

    __slots__ = ()

    transport: str
    """The transport's name."""
    endpoint: str
    """The remote end, as text that only this transport reads."""
    relayed: bool
    """Whether a third machine forwards the datagrams."""

    @abstractmethod
    def send(self, datagrams: Sequence[Buffer]) -> bool:
        """Send a burst now; False where any of it was dropped. The buffers may be reused when it returns."""

    def knock(self, datagram: Buffer, ttl: int) -> bool:
        """Send one datagram that passes ``ttl - 1`` routers and dies at the next: it opens the routers on this side for
        an answer, and the far side's never see it. False where this transport cannot do that; nothing was sent then.
        """
        return False


Receive = Callable[[Path, Sequence[Buffer]], None]
"""Takes a burst that came from one source, with the path that leads back there.

The buffers are only valid during the call. A source need not be known: the path is just where a reply would go.
"""


class Transport(ABC):
    """A way of carrying datagrams; see docs/plugins.md for writing one."""

    name: str
    relayed: bool = False

    @abstractmethod
    async def start(self, receive: Receive) -> None:
        """Open what is needed and deliver from now on. PlatformError where that fails, or where a datagram of
        `SEALED_MTU` bytes could not be carried."""

    @abstractmethod
    def endpoints(self) -> Sequence[str]:
        """The endpoints to advertise to peers, best first; may change over time."""

    @abstractmethod
    def path(self, endpoint: str) -> Path:
        """The path to a peer's endpoint; ValueError where the text makes no sense. No I/O."""

    @abstractmethod
    async def close(self) -> None:
        """Stop delivering and release everything; harmless when called twice."""


class RelayTransport(Transport):
    """A transport whose datagrams a relay forwards. Its endpoints are made by core: see `relay_endpoint`.

    It keeps a connection to its home, where peers find this node, and connects elsewhere on demand.
    """

    relayed = True

    @abstractmethod
    def use(self, relays: Sequence[MapRelay], home: int | None, assigned: int | None) -> None:
        """The relays there are, this node's home region (None: not chosen yet), and the relay's id that the server
        assigned to it there (None: any). Called again whenever any of it changes; no I/O in the call itself."""

    @abstractmethod
    def links_changed(self) -> None:
        """This machine's links changed: find out which connections still work, and replace the others."""

    @abstractmethod
    def connected(self, region: int) -> bool:
        """Whether a connection to that region is logged in."""

    def watch(self, lost: Callable[[int], object]) -> None:
        """Call ``lost`` with a region's number when its connection is gone. Core looks at times where a transport
        cannot tell, as by this one."""

    def at(self, region: int) -> int | None:
        """The id of the relay that the connection to that region leads to; None where it is not known."""
        return None

    @abstractmethod
    def heard(self, region: int) -> int | None:
        """When that region's connection last brought a frame, in nanoseconds of the clock; None for never."""


_RELAY_ENDPOINT = re.compile(r"(\d{1,9})/(nodekey:[0-9a-f]{64})", re.ASCII)


def relay_endpoint(home: int, peer: NodeKey) -> str:
    """Where relay transports find a peer: ``REGION/nodekey:HEX``; region 0 where its home is not known."""
    return f"{home}/{peer}"


def parse_relay_endpoint(text: str) -> tuple[int, NodeKey]:
    """Home and peer, as `relay_endpoint` wrote them; ValueError says what was expected."""
    from ghostwire.keys import NodeKey  # loads a library of ciphers, which a command's --help does not need

    match = _RELAY_ENDPOINT.fullmatch(text)
    if match is None:
        raise ValueError(f"not a peer's endpoint at a relay (REGION/nodekey:HEX expected): {text[:90]!r}")
    return int(match[1]), NodeKey.parse(match[2])
