"""The messages of the control session: what node and server say once the Noise handshake is done.

Each is one frame: a msgpack map with string keys and a ``type``; unknown keys are ignored. The flow:

    node                                    server
      Hello (proves its node key)      ->             first record: proves freshness, nothing happens before it
                                       <-   Welcome   or Refused, after which the server closes
                                       <-   MapChange the full map, or what changed since Hello.cursor
      Report, Interest                 ->             whenever they change
                                       <-   MapChange, PeerEndpoints
      Ping                             <->  Ping      answered by Pong; a side silent for `IDLE_TIMEOUT` is gone
      Leave                            ->             a clean goodbye
      Leave (logout)                   ->
                                       <-   Refused   ``removed``, once the server has stored it
"""

from __future__ import annotations

from typing import Any

import msgspec

from ghostwire.errors import RemoteProtocolError
from ghostwire.keys import DiscoKey, NodeKey
from ghostwire.model import Cursor, Endpoint, MapChange, MapNode, pack, unpacker

PROTOCOL = 1
OLDEST_PROTOCOL = 1
"""A server serves the last two protocol numbers."""

UPGRADE = "ghostwire-control"
"""The token of the HTTP Upgrade."""
PATH = "/control"

KEEPALIVE = 30
"""Seconds after which a side that sent nothing sends a Ping."""
IDLE_TIMEOUT = 90
"""Seconds of silence after which a side gives the session up."""

MAX_FRAME_TO_SERVER = 16 * 1024
MAX_FRAME_TO_NODE = 64 * 1024 * 1024
MAX_ENDPOINTS = 16
MAX_ENDPOINT_TEXT = 256


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The root of all messages."""


class Credentials(msgspec.Struct, frozen=True):
    """What admits a new machine: ``scheme`` names the authenticator plugin that reads ``secret``."""

    scheme: str
    secret: str

    def __repr__(self) -> str:
        return f"Credentials({self.scheme!r}, secret hidden)"


class Host(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node says of its machine."""

    hostname: str = ""
    os: str = ""
    version: str = ""


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """A node's first frame. ``proof`` shows possession of the node key's private half (see wire.session)."""

    protocol: int
    node_key: NodeKey
    disco_key: DiscoKey
    proof: bytes
    host: Host = Host()
    cursor: Cursor | None = None
    credentials: Credentials | None = None


class Welcome(Message, frozen=True, kw_only=True, tag="welcome"):
    """The server's answer: who the node is. ``expires`` is its key's end in Unix seconds, None for never."""

    protocol: int
    node: MapNode
    domain: str
    expires: int | None = None
    server_time: int = 0


class Refused(Message, frozen=True, kw_only=True, tag="refused"):
    """The server said no, and closes. ``code`` is for programs, ``message`` is one line for people.

    Codes: ``login-required`` (unknown machine and no credentials), ``authentication-failed``, ``key-expired``,
    ``removed``, ``conflict``, ``protocol`` (too old or too new), ``busy`` (``retry_after`` seconds), ``replaced``.
    """

    code: str
    message: str
    retry_after: int = 0


class Report(Message, frozen=True, kw_only=True, tag="report"):
    """Where the node can be reached. ``session`` grows with each start of the node, ``sequence`` with each report."""

    session: int
    sequence: int
    endpoints: tuple[Endpoint, ...] = ()
    home: int | None = None


class Interest(Message, frozen=True, kw_only=True, tag="interest"):
    """The node has (``wanted``) or no longer has a packet for that peer and no trusted path."""

    node: int
    wanted: bool = True


class PeerEndpoints(Message, frozen=True, kw_only=True, tag="endpoints"):
    """A peer's current endpoints, sent to both ends of an interest."""

    node: int
    endpoints: tuple[Endpoint, ...] = ()


class Ping(Message, frozen=True, kw_only=True, tag="ping"):
    """Asks for a Pong with the same number."""

    number: int = 0


class Pong(Message, frozen=True, kw_only=True, tag="pong"):
    """Answers a Ping."""

    number: int = 0


class Leave(Message, frozen=True, kw_only=True, tag="leave"):
    """The node goes. ``logout`` also gives up its membership: Refused ``removed`` says that this is stored."""

    logout: bool = False


ToServer = Hello | Report | Interest | Ping | Pong | Leave
ToNode = Welcome | Refused | MapChange | PeerEndpoints | Ping | Pong

_to_server = unpacker(ToServer)
_to_node = unpacker(ToNode)

encode = pack
"""A message as one frame's bytes."""


def decode_to_server(frame: bytes) -> Any:
    """A frame from a node; RemoteProtocolError names the field that is wrong."""
    return _decode(_to_server, frame, MAX_FRAME_TO_SERVER)


def decode_to_node(frame: bytes) -> Any:
    """A frame from a server; RemoteProtocolError names the field that is wrong."""
    return _decode(_to_node, frame, MAX_FRAME_TO_NODE)


def _decode(decoder: msgspec.msgpack.Decoder[Any], frame: bytes, limit: int) -> Any:
    if len(frame) > limit:
        raise RemoteProtocolError(f"a frame of {len(frame)} bytes; at most {limit} are accepted")
    try:
        return decoder.decode(frame)
    except (msgspec.DecodeError, ValueError) as error:
        raise RemoteProtocolError(f"a malformed control message: {error}") from None
