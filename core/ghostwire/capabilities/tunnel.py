"""A tunnel runs the pipeline from the device to the paths: routing by allowed IPs, sealing, opening, filtering."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from ghostwire.capabilities.transport import Buffer, Path

if TYPE_CHECKING:
    from ghostwire.keys import NodeKey

Prefix = IPv4Network | IPv6Network


class TunnelPeer(msgspec.Struct, frozen=True):
    """A peer the tunnel should have. ``keepalive`` is in seconds, 0 for none.

    Packets to ``allowed_ips`` go to it, and its own must come from there. ``accepts`` are further prefixes that they
    may come from although packets go to them by another peer, as long as that one does not have a longer prefix.
    """

    id: int
    key: NodeKey
    allowed_ips: tuple[Prefix, ...]
    keepalive: int = 0
    preshared_key: bytes | None = None
    accepts: tuple[Prefix, ...] = ()

    def __repr__(self) -> str:
        return f"TunnelPeer({self.id}, {self.key!r})"


class PeerStats(msgspec.Struct, frozen=True):
    """A peer's counters. Bytes are sealed bytes; ``last_handshake`` is Unix nanoseconds, 0 for never.

    ``heard_over`` is the path over which the last authenticated datagram came, where that is known.
    """

    id: int
    received_bytes: int
    sent_bytes: int
    last_handshake: int
    path: Path | None
    heard_over: Path | None = None


class Activity(NamedTuple):
    """When data last moved between this node and a peer; nanoseconds of the clock, 0 for never.

    Data are packets of the device, keepalives are none. ``unanswered`` is when the oldest data was sent after which
    nothing authentic has come over an attached path, 0 where nothing waits for an answer; ``heard`` is when anything
    authentic last came over an attached path. ``over`` is the path over which data last came; of two copies of a
    datagram the first counts. ``direct`` is when data or a keepalive last came over a path that is not
    relayed.
    """

    sent: int = 0
    received: int = 0
    unanswered: int = 0
    heard: int = 0
    over: Path | None = None
    direct: int = 0


class TunnelEvents(Protocol):
    """What a tunnel tells the node; called from the tunnel's own loop pass, must not block.

    What is told is told before the datagrams of the same pass are sent, which then go over the paths it led to.
    """

    def awake(self, peer: int) -> None:
        """Data moves, in either direction, for the first time since the peer was put to `Tunnel.rest`, or ever."""

    def wanted(self, peer: int) -> None:
        """An initiation is about to go to this peer: a packet waits for it, or its session must be renewed."""

    def authenticated(self, peer: int, source: Path) -> None:
        """Authenticated datagrams came from a source that is not among the peer's attached paths; told at most once
        a second for one source."""

    def established(self, peer: int, source: Path) -> None:
        """A handshake with this peer was completed over ``source``."""


class Filter(Protocol):
    """The node's packet filter, asked about what arrives and told of what leaves."""

    def admit(self, peer: int, packets: Sequence[Buffer]) -> Sequence[Buffer]:
        """Those of a peer's opened packets that may reach the device."""

    def record(self, packets: Sequence[Buffer]) -> Sequence[Buffer]:
        """Remember the flows of packets from the device; those of them that may leave: all but answers to what peers
        may send no longer."""


class Tunnel(ABC):
    """End-to-end encryption between the device and the peers' paths."""

    name: str

    @abstractmethod
    async def start(self) -> None:
        """Begin reading the device."""

    @abstractmethod
    def apply(self, peers: Collection[TunnelPeer]) -> None:
        """Make these exactly the peers; sessions of unchanged ones go on, removed ones' keys are wiped."""

    @abstractmethod
    def attach(self, peer: int, paths: Sequence[Path]) -> None:
        """Send to this peer over these paths (at most two; each packet over all of them)."""

    def test(self, peer: int, path: Path) -> None:  # noqa: B027 (a tunnel that cannot does nothing)
        """Begin a handshake with this peer now, its initiation over this path alone: `TunnelEvents.established` tells
        over which path it was completed, so that one that carries WireGuard proves itself. Not repeated, and not
        announced as `TunnelEvents.wanted`; sessions and a handshake under way go on. The caller sees to it that this
        is rare. Harmless for an unknown peer.
        """

    def activity(self, peer: int) -> Activity:
        """When data last moved; costs nothing."""
        return Activity()

    def rest(self, peer: int) -> None:  # noqa: B027 (as above)
        """Tell `TunnelEvents.awake` when data moves again; nothing sent before waits for an answer any more."""

    @abstractmethod
    def receive(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        """Take sealed datagrams that arrived from ``source``. The answer to an initiation goes back there alone, so
        that a completed handshake proves a path in both directions."""

    @abstractmethod
    def stats(self) -> Sequence[PeerStats]:
        """Every peer's counters."""

    @abstractmethod
    async def close(self) -> None:
        """Stop; wipe session keys; harmless when called twice."""
