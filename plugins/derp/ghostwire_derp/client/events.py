"""What a connection to a relay tells its owner."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Opened:
    """The login is done."""


@dataclass(slots=True)
class Received:
    """A burst from one source (its raw node key); the datagrams are valid until the engine's next call."""

    source: bytes
    datagrams: list[memoryview]


@dataclass(slots=True)
class PeerGone:
    """The relay knows nobody with this raw node key, or no longer."""

    peer: bytes


@dataclass(slots=True)
class Health:
    """What the relay thinks is wrong with this connection, as one line; empty: nothing."""

    text: str


@dataclass(slots=True)
class Restarting:
    """The relay is about to restart: come back after so many nanoseconds, and try for so many."""

    after: int
    lasting: int


Event = Opened | Received | PeerGone | Health | Restarting
