"""The ends of a tunnel on a simulated network, with what each saw and was told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from ghostwire.capabilities.transport import Buffer, Path
from ghostwire.capabilities.tunnel import PeerStats, Tunnel, TunnelPeer
from ghostwire.errors import Unavailable
from ghostwire.keys import NodeKey, PrivateKey
from ghostwire.testing.datagrams import MemoryTransport
from ghostwire.testing.network import Host
from ghostwire.testing.platform import MemoryDevice


class RecordedEvents:
    """What a tunnel told its node."""

    def __init__(self) -> None:
        self.wakings: list[int] = []
        self.on_awake: Callable[[int], object] = lambda peer: None
        self.wants: list[int] = []
        self.sources: list[tuple[int, Path]] = []
        self.handshakes: list[tuple[int, Path]] = []

    def awake(self, peer: int) -> None:
        """Data moves again."""
        self.wakings.append(peer)
        self.on_awake(peer)

    def wanted(self, peer: int) -> None:
        """An initiation is about to go out."""
        self.wants.append(peer)

    def authenticated(self, peer: int, source: Path) -> None:
        """A datagram came from elsewhere."""
        self.sources.append((peer, source))

    def established(self, peer: int, source: Path) -> None:
        """A handshake was completed."""
        self.handshakes.append((peer, source))


class Judge:
    """A filter that notes what it is asked, and admits and releases what ``admits`` and ``releases`` say."""

    def __init__(self) -> None:
        self.admits = self.releases = True
        self.asked: list[int] = []
        self.left = 0

    def admit(self, peer: int, packets: Sequence[Buffer]) -> Sequence[Buffer]:
        """All or nothing."""
        self.asked.append(peer)
        return packets if self.admits else []

    def record(self, packets: Sequence[Buffer]) -> Sequence[Buffer]:
        """Count what leaves, all or nothing."""
        self.left += len(packets)
        return packets if self.releases else []


@dataclass(slots=True)
class End:
    """One machine with a tunnel; ``number`` is its peer id at the others and the end of its addresses."""

    number: int
    host: Host
    key: PrivateKey
    device: MemoryDevice
    transport: MemoryTransport
    events: RecordedEvents
    tunnel: Tunnel
    datagrams: list[tuple[Path, bytes]] = field(default_factory=list)
    """What arrived, as it arrived."""

    @property
    def ipv4(self) -> str:
        """Its mesh address."""
        return f"100.64.0.{self.number}"

    @property
    def ipv6(self) -> str:
        """Its other mesh address."""
        return f"fd00::{self.number}"

    def as_peer(self, **changes: Any) -> TunnelPeer:
        """How the others know it."""
        allowed = (ip_network(self.ipv4), ip_network(self.ipv6))
        return TunnelPeer(**{"id": self.number, "key": self.key.public(NodeKey), "allowed_ips": allowed, **changes})

    def path_to(self, other: End) -> Path:
        """The way to the other's transport."""
        return self.transport.path(other.transport.endpoints()[0])

    def stats_of(self, other: End) -> PeerStats:
        """What the tunnel counted for that peer."""
        return next(stats for stats in self.tunnel.stats() if stats.id == other.number)

    def handshakes(self) -> int:
        """How many handshakes it completed."""
        return len(self.events.handshakes)


def meet(*ends: End) -> None:
    """Make every end the others' peer, with a path."""
    for end in ends:
        others = [other for other in ends if other is not end]
        end.tunnel.apply([other.as_peer() for other in others])
        for other in others:
            end.tunnel.attach(other.number, [end.path_to(other)])


async def reaches(one: End, other: End, address: str = "", timeout: float = 1.0) -> bool:
    """Whether a ping comes back in time."""
    try:
        await one.device.ping(address or other.ipv4, timeout=timeout)
    except Unavailable:
        return False
    return True


async def answers(one: End, other: End, address: str = "", timeout: float = 1.0) -> None:
    """A ping must come back in time."""
    back = await reaches(one, other, address, timeout)
    assert back, f"peer {other.number} did not answer a ping of peer {one.number} within {timeout:g} s"
