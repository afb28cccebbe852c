"""What a relay protocol gets of the program it runs in, be it a relay or the coordination server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ghostwire.keys import NodeKey, PrivateKey
    from ghostwire.model import MapRelay


class Load(msgspec.Struct, frozen=True):
    """What a relay has carried: clients connected now, bytes passed on since the start."""

    clients: int
    bytes: int


class Siblings(msgspec.Struct, frozen=True):
    """The other relays of the region, and the key (32 bytes; empty: no mesh) by which they know each other."""

    relays: tuple[MapRelay, ...] = ()
    mesh_key: bytes = b""

    def __repr__(self) -> str:
        return f"Siblings({self.relays!r}, mesh key hidden)"


class Relaying(ABC):
    """The same in every worker process of a relay.

    ``private_key`` is the relay's key towards its clients. ``budget`` is how many bytes may be relayed in one pass of
    the event loop, so that whatever else the program does gets its turn; 0 for no limit.
    """

    private_key: PrivateKey
    budget: int

    @abstractmethod
    def admits(self, key: NodeKey) -> bool:
        """Whether this node may use the relay now."""

    @abstractmethod
    def on_removed(self, removed: Callable[[Sequence[NodeKey]], None]) -> None:
        """Call this with every key that is admitted no longer; its connections are to be closed at once."""

    @property
    @abstractmethod
    def siblings(self) -> Siblings:
        """Whom to mesh with."""

    @abstractmethod
    def on_siblings(self, changed: Callable[[], None]) -> None:
        """Call this whenever `siblings` has changed."""

    @abstractmethod
    def announce(self, *, stun_port: int) -> None:
        """STUN is served on this UDP port."""

    @abstractmethod
    def measure(self, load: Callable[[], Load]) -> None:
        """Ask this for the load."""
