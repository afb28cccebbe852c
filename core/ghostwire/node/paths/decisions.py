"""What path choice decides, to be carried out in order."""

from __future__ import annotations

from typing import NamedTuple

from ghostwire import Path


class Attach(NamedTuple):
    """Send this peer's packets over these paths, each packet over all of them."""

    peer: int
    paths: tuple[Path, ...]


class Ping(NamedTuple):
    """Send a disco ping; ``padded`` to the size of the largest sealed packet. With a ``ttl`` it is to die behind this
    side's routers (see `ghostwire.Path.knock`)."""

    peer: int
    path: Path
    transaction: bytes
    padded: bool
    ttl: int | None = None


class Call(NamedTuple):
    """Send a call-me-maybe over this relayed path."""

    peer: int
    relay: Path


class Ask(NamedTuple):
    """Send a disco ping over this relayed path: its pong says that the calls before it were heard."""

    peer: int
    relay: Path
    transaction: bytes


class Want(NamedTuple):
    """Tell the server of an interest in this peer."""

    peer: int


class Trial(NamedTuple):
    """Have the tunnel begin a handshake over this path alone."""

    peer: int
    path: Path


class Rest(NamedTuple):
    """Have the tunnel tell when data moves again."""

    peer: int


class Trust(NamedTuple):
    """This direct path works; news."""

    peer: int
    path: Path


Decision = Attach | Ping | Call | Ask | Want | Trial | Rest | Trust
