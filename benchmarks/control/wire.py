"""The server's messages as far as simulated nodes look at them: decoding the rest would cost what the server needs."""

from __future__ import annotations

from typing import Any

import msgspec

from ghostwire.model import Cursor


class Node(msgspec.Struct, frozen=True):
    """A node of a map."""

    id: int
    name: str


class Map(msgspec.Struct, frozen=True, tag="map"):
    """A map, or what changed in it."""

    cursor: Cursor
    full: bool = False
    visible: tuple[int, ...] | None = None
    nodes: tuple[Node, ...] = ()
    removed_nodes: tuple[int, ...] = ()
    homes: dict[int, int | None] = {}


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """Who the node is."""

    node: Node


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The server said no."""

    code: str
    message: str


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """To be answered."""

    number: int = 0


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    """Our ping's answer."""


class PeerEndpoints(msgspec.Struct, frozen=True, tag="endpoints"):
    """Where a peer is."""


class HomeRelay(msgspec.Struct, frozen=True, tag="home-relay"):
    """At which relay to be."""


decode: Any = msgspec.msgpack.Decoder(Map | Welcome | Refused | Ping | Pong | PeerEndpoints | HomeRelay).decode

OVERHEAD = 2 + 16 + 4
"""Bytes by which a record that carries one frame is longer than the frame (see `ghostwire.wire.session`)."""
