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


class Fellows(msgspec.Struct, frozen=True):
    """The other worker processes of one relay, which share its port and its key; empty where there is one alone.

    Each listens on a Unix socket, this one on ``own``, and knows the others by ``mesh_key`` (32 bytes, made anew at
    every start), so that a fellow is never taken for a sibling.
    """

    own: str = ""
    others: tuple[str, ...] = ()
    mesh_key: bytes = b""

    def __repr__(self) -> str:
        return f"Fellows({self.own!r}, {self.others!r}, mesh key hidden)"


class Relaying(ABC):
    """The same in every worker process of a relay, but for ``fellows`` and ``first``.

    ``private_key`` is the relay's key towards its clients. ``budget`` is how many bytes may be relayed in one pass of
    the event loop, so that whatever else the program does gets its turn; 0 for no limit. ``first`` says whether this
    process runs what a relay runs once only, its STUN server say.
    """

    private_key: PrivateKey
    budget: int
    fellows: Fellows = Fellows()
    first: bool = True

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
