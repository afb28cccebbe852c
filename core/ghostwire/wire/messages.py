"""The messages of the control session: what node and server say once the Noise handshake is done.

Each is one frame: a msgpack map with string keys and a ``type``; unknown keys are ignored. The flow:

    node                                    server
      Hello (proves its node key)      ->             first record: proves freshness, nothing happens before it
                                       <-   Welcome   or Refused, after which the server closes
                                       <-   MapChange the full map, or what changed since Hello.cursor
      Report, Interest                 ->             whenever they change
      Lacking                          ->             nodes of MapChange.visible that it does not hold   (protocol 2)
      Refresh                          ->             now and then: the whole map, to compare with       (protocol 2)
                                       <-   MapChange, PeerEndpoints
      Ping                             <->  Ping      answered by Pong; a side silent for `IDLE_TIMEOUT` is gone
      Leave                            ->             a clean goodbye
      Leave (logout)                   ->
                                       <-   Refused   ``removed``, once the server has stored it
                                       <-   HomeRelay which relay of its home region a node is to be at

    relay                                   server
      RelayHello (proves its key)      ->
                                       <-   RelayWelcome, or Refused
                                       <-   AdmittedKeys  the full set, then what changes
                                       <-   RelaySiblings the other relays of its region, whenever they change
      RelayLoad                        ->             every `LOAD_INTERVAL`
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from ghostwire.errors import RemoteProtocolError
from ghostwire.keys import DiscoKey, NodeKey, RelayKey
from ghostwire.model import Cursor, Endpoint, MapChange, MapNode, MapRelay, pack, unpacker

PROTOCOL = 2
OLDEST_PROTOCOL = 1
"""A server serves the last two protocol numbers; Welcome says which of them the session speaks."""
NAMING = 2
"""The protocol number from which on `MapChange.visible`, Lacking and Refresh are spoken."""

UPGRADE = "ghostwire-control"
"""The token of the HTTP Upgrade."""
PATH = "/control"

KEEPALIVE = 30
"""Seconds after which a side that sent nothing sends a Ping."""
IDLE_TIMEOUT = 90
"""Seconds of silence after which a side gives the session up."""

LOAD_INTERVAL = 10
"""Seconds between two reports of a relay's load."""

MAX_FRAME_TO_SERVER = 16 * 1024
MAX_FRAME_TO_NODE = 64 * 1024 * 1024
MAX_ENDPOINTS = 16
MAX_ENDPOINT_TEXT = 256
MAX_LACKING = 2000
"""Nodes that one message asks for."""
MAX_ROUTES = 256
"""Prefixes that one node may advertise."""


Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


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


LOGIN_REQUIRED, KEY_EXPIRED, REMOVED = "login-required", "key-expired", "removed"
"""Codes of `Refused` after which a node or relay has something to do."""
PASSING = frozenset(("busy", "replaced"))
"""Codes of refusals that pass by themselves."""


class Refused(Message, frozen=True, kw_only=True, tag="refused"):
    """The server said no, and closes. ``code`` is for programs, ``message`` is one line for people.

    Codes: ``login-required`` (unknown machine and no credentials), ``authentication-failed``, ``key-expired``,
    ``removed``, ``conflict``, ``protocol`` (too old or too new), ``busy`` (``retry_after`` seconds), ``replaced``.
    """

    code: str
    message: str
    retry_after: int = 0


class Report(Message, frozen=True, kw_only=True, tag="report"):
    """Where the node can be reached. ``session`` grows with each start of the node, ``sequence`` with each report.

    ``home`` is its home relay's region, ``relay`` the relay of it at which the node is already, if any: the server
    assigns it that one again where it can. ``routes`` are the prefixes that it can pass packets on to (see `Route`);
    those in ``down`` it cannot reach at present.
    """

    session: Number
    sequence: Number
    endpoints: tuple[Endpoint, ...] = ()
    home: Number | None = None
    relay: Number | None = None
    routes: tuple[str, ...] = ()
    down: tuple[str, ...] = ()


class Interest(Message, frozen=True, kw_only=True, tag="interest"):
    """The node has (``wanted``) or no longer has a packet for that peer and no trusted path."""

    node: int
    wanted: bool = True


class PeerEndpoints(Message, frozen=True, kw_only=True, tag="endpoints"):
    """A peer's current endpoints, sent to both ends of an interest."""

    node: int
    endpoints: tuple[Endpoint, ...] = ()


class HomeRelay(Message, frozen=True, kw_only=True, tag="home-relay"):
    """The relay (its id in the map) of its home region at which the node is to be; others may stand in for it."""

    region: int
    relay: int


class RelayHello(Message, frozen=True, kw_only=True, tag="relay-hello"):
    """A relay's first frame. ``proof`` shows possession of ``key``'s private half; the rest is what nodes need.

    ``certificate`` is as in `Relay`. ``credentials`` (scheme ``relay``) come along until the server knows the machine.
    """

    protocol: int
    key: RelayKey
    proof: bytes
    version: str = ""
    tls: bool = True
    certificate: str = ""
    stun_port: int = 0
    credentials: Credentials | None = None


class RelayWelcome(Message, frozen=True, kw_only=True, tag="relay-welcome"):
    """The server's answer: which relay this is, and the 32-byte key that the relays of its region share."""

    protocol: int
    relay: MapRelay
    mesh_key: bytes

    def __repr__(self) -> str:
        return f"RelayWelcome({self.relay!r}, mesh key hidden)"


class RelaySiblings(Message, frozen=True, kw_only=True, tag="siblings"):
    """The other relays of the region that run, all of them; one that was lost is among them for a short grace."""

    relays: tuple[MapRelay, ...] = ()


class AdmittedKeys(Message, frozen=True, kw_only=True, tag="admitted"):
    """The node keys a relay may serve: all of them (``full``), or what changed."""

    full: bool = False
    keys: tuple[NodeKey, ...] = ()
    removed: tuple[NodeKey, ...] = ()


class RelayLoad(Message, frozen=True, kw_only=True, tag="relay-load"):
    """What a relay carries: connected clients, and bytes a second passed on since the last report."""

    clients: int
    bytes_per_second: int = 0


class Lacking(Message, frozen=True, kw_only=True, tag="lacking"):
    """The node does not hold these nodes, which `MapChange.visible` named; several messages where they are many."""

    nodes: tuple[int, ...]


class Refresh(Message, frozen=True, kw_only=True, tag="refresh"):
    """The node wants its whole map, to compare with what it holds: first what it was not told yet, then all of it, in a
    frame of its own at the same cursor."""


class Ping(Message, frozen=True, kw_only=True, tag="ping"):
    """Asks for a Pong with the same number."""

    number: int = 0


class Pong(Message, frozen=True, kw_only=True, tag="pong"):
    """Answers a Ping."""

    number: int = 0


class Leave(Message, frozen=True, kw_only=True, tag="leave"):
    """The node goes. ``logout`` also gives up its membership: Refused ``removed`` says that this is stored."""

    logout: bool = False


ToServer = Hello | Report | Interest | Lacking | Refresh | Ping | Pong | Leave | RelayHello | RelayLoad
ToNode = (
    Welcome
    | Refused
    | MapChange
    | PeerEndpoints
    | Ping
    | Pong
    | HomeRelay
    | RelayWelcome
    | RelaySiblings
    | AdmittedKeys
)
"""To nodes, and to relays."""

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
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"a malformed control message: {error}") from None
