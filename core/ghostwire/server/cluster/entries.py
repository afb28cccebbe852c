"""The entries of the exchange: their keys, and their bodies in msgpack, whose unknown fields are ignored.

node/ID      `LeaseEntry`    what a node last said to this server, and whether it has a stream here
wants/ID     `WantsEntry`    the peers that a node with a stream here wants to reach
relay/ID     `RelayEntry`    a relay that has a session here, or runs here
server/0     `ServerEntry`   the server itself
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from ghostwire.capabilities.storage import MAX_ENTRY
from ghostwire.model import Endpoint, pack, unpacker

NODE, WANTS, RELAY, SERVER = "node", "wants", "relay", "server"

LATEST = 2**62
"""The last time that there is, in the year 2116."""
Time = Annotated[int, msgspec.Meta(ge=0, le=LATEST)]
Number = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]


class LeaseEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node as one server knows it. ``online``: it has a stream there; ``reported``: it said something on it.

    ``session`` and ``sequence`` are of its last report, from which the rest is; ``at`` is when this was written, in
    nanoseconds of the servers' wall clocks, yet later than all that its writer had heard of.
    """

    at: Time
    online: bool = False
    reported: bool = False
    last_seen: Number | None = None
    session: Number = -1
    sequence: Number = -1
    endpoints: tuple[Endpoint, ...] = ()
    home: Number | None = None
    relay: Number | None = None
    down: tuple[str, ...] = ()

    @property
    def version(self) -> tuple[int, int]:
        """What of its reports it tells."""
        return self.session, self.sequence


class WantsEntry(msgspec.Struct, frozen=True):
    """The peers, by id."""

    peers: tuple[Number, ...] = ()


class RelayEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A relay's session: when it began (as `LeaseEntry.at`), what the relay said of its load, its version.

    Of one that runs in the server itself the load alone.
    """

    at: Time = 0
    clients: Number = 0
    bytes_per_second: Number = 0
    version: str = ""


class ServerEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A server: its machine's name, the release, and since when it runs (Unix seconds)."""

    name: str
    version: str = ""
    since: Number = 0


Entry = LeaseEntry | WantsEntry | RelayEntry | ServerEntry

_READ: dict[str, msgspec.msgpack.Decoder[Entry]] = {
    NODE: unpacker(LeaseEntry),
    WANTS: unpacker(WantsEntry),
    RELAY: unpacker(RelayEntry),
    SERVER: unpacker(ServerEntry),
}


def key(kind: str, id_: int = 0) -> str:
    """The key of that entry."""
    return f"{kind}/{id_}"


def split(text: str) -> tuple[str, int] | None:
    """The kind and id of a key; None where a newer release wrote what this one doesn't know."""
    kind, _, id_ = text.partition("/")
    return (kind, int(id_)) if kind in _READ and id_.isascii() and id_.isdecimal() and len(id_) < 19 else None


def encode(entry: Entry) -> bytes:
    """A body, cut down where it would be too long to be told."""
    body = pack(entry)
    if len(body) > MAX_ENTRY and isinstance(entry, LeaseEntry):
        body = pack(msgspec.structs.replace(entry, endpoints=(), down=()))
    return body


def decode(kind: str, body: bytes) -> Entry | None:
    """A body; None where a newer release wrote what this one can't read."""
    try:
        return _READ[kind].decode(body)
    except (msgspec.DecodeError, ValueError):
        return None
