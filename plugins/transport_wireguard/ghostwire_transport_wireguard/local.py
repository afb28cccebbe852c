"""What all peers of one device share: the node's key, index tables, timers, and what is to be sent and told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ghostwire import Buffer, Path
from ghostwire.engine import Entropy
from ghostwire.keys import PrivateKey
from ghostwire_transport_wireguard.counters import Counters
from ghostwire_transport_wireguard.timers import JITTER, TimerQueue

if TYPE_CHECKING:
    from ghostwire_transport_wireguard.keypair import Keypair
    from ghostwire_transport_wireguard.peer import Peer


class Awake(NamedTuple):
    """Data of this peer moves again."""

    peer: int


class Wanted(NamedTuple):
    """An initiation is about to go to this peer."""

    peer: int


class Authenticated(NamedTuple):
    """Authenticated datagrams come from a source that is not among the peer's paths."""

    peer: int
    source: Path


class Established(NamedTuple):
    """A handshake with this peer was completed."""

    peer: int
    source: Path


Event = Awake | Wanted | Authenticated | Established


class Send(NamedTuple):
    """Datagrams and where they go; call ``paths`` when the events before have been told: empty where there is none."""

    paths: Callable[[], Sequence[Path]]
    datagrams: Sequence[Buffer]


def only(path: Path) -> Callable[[], Sequence[Path]]:
    """The paths of what goes over this one, whatever is told."""
    return lambda: (path,)


@dataclass(slots=True)
class Local:
    """``stamp`` gives the next handshake timestamp; ``pending`` and ``sessions`` find peers by our index."""

    private_key: PrivateKey
    entropy: Entropy
    stamp: Callable[[], bytes]
    mtu: int
    counters: Counters = field(default_factory=Counters)
    timers: TimerQueue = field(default_factory=TimerQueue)
    pending: dict[int, Peer] = field(default_factory=dict)
    sessions: dict[int, Keypair] = field(default_factory=dict)
    sends: list[Send] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def new_index(self) -> int:
        """A random 32-bit index that no handshake or session has."""
        while True:
            index = int.from_bytes(self.entropy(4), "little")
            if index not in self.pending and index not in self.sessions:
                return index

    def jitter(self) -> int:
        """Up to 333 ms, so that two peers don't keep initiating at the same moments."""
        return int.from_bytes(self.entropy(4), "little") * JITTER >> 32
