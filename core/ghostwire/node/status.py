"""What a node says of itself: the answer to the local API's status."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from ghostwire import Path, PeerStats, __version__, parse_relay_endpoint
from ghostwire.engine import SECOND
from ghostwire.keys import NodeKey
from ghostwire.model import MapNode
from ghostwire.node.paths.report import CandidateReport, PathsReport
from ghostwire.node.relays import Relays
from ghostwire.node.routing.report import Routing
from ghostwire.node.transports.report import TransportStatus
from ghostwire.node.upkeep import MapStatus


class State(StrEnum):
    """Where a node is in its life."""

    NEEDS_LOGIN = "needs-login"
    STARTING = "starting"
    RUNNING = "running"
    STOPPED = "stopped"
    EXPIRED = "expired"


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The server, as this node reaches it. ``last_connected`` is when the last session began, in Unix seconds."""

    url: str
    connected: bool
    last_error: str = ""
    last_connected: int | None = None


class OwnStatus(msgspec.Struct, frozen=True, kw_only=True):
    """This node in the mesh. ``expires`` is its key's end in Unix seconds."""

    id: int
    name: str
    addresses: tuple[str, ...]
    node_key: NodeKey
    expires: int | None


class PathStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A peer's confirmed path. Where it is ``relayed``: the relays' region, and the relay as far as that is known."""

    transport: str
    endpoint: str
    relayed: bool
    region: str = ""
    relay: str = ""


class HomeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """This node's home region; ``name`` is for people, ``relay`` as far as it is known."""

    region: int
    name: str
    relay: str
    connected: bool


class PeerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A peer. ``last_handshake`` is in Unix seconds, None for never; ``active`` says that a session can exist.

    ``state`` says where its path choice is, as in `PathsReport`; ``latency_ms`` is the round trip over its direct path,
    None where there is none or it was not measured.
    """

    id: int
    name: str
    addresses: tuple[str, ...]
    node_key: NodeKey
    path: PathStatus | None
    last_handshake: int | None
    rx_bytes: int
    tx_bytes: int
    active: bool
    state: str = "asleep"
    latency_ms: float | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; ``trouble`` is what keeps a node from running, in one line, ``filter_trouble`` why the system's
    firewall does not check arriving packets, where it should."""

    state: State
    version: str = __version__
    server: ServerStatus
    own: OwnStatus | None = msgspec.field(name="self")
    domain: str
    interface: str
    tunnel: str
    transports: tuple[TransportStatus, ...]
    peers: tuple[PeerStatus, ...]
    counters: Mapping[str, float]
    trouble: str = ""
    filter_trouble: str = ""
    home: HomeStatus | None = None
    routing: Routing = Routing()
    map: MapStatus = MapStatus()


SESSION_LIFE = 180 * SECOND


def peer_status(node: MapNode, stats: PeerStats | None, path: PathStatus | None, wall: int) -> PeerStatus:
    """A peer of the map with what the tunnel counted; ``wall`` in Unix nanoseconds."""
    handshake = stats.last_handshake if stats is not None else 0
    return PeerStatus(
        id=node.id,
        name=node.name,
        addresses=node.addresses,
        node_key=node.node_key,
        path=path,
        last_handshake=handshake // SECOND if handshake else None,
        rx_bytes=stats.received_bytes if stats is not None else 0,
        tx_bytes=stats.sent_bytes if stats is not None else 0,
        active=bool(handshake) and wall - handshake < SESSION_LIFE,
    )


def path_status(path: Path | None, relays: Relays) -> PathStatus | None:
    """A path for people to read."""
    if path is None:
        return None
    region, relay = _at(path.endpoint, relays) if path.relayed else ("", "")
    return PathStatus(
        transport=path.transport, endpoint=path.endpoint, relayed=path.relayed, region=region, relay=relay
    )


def name_relays(report: PathsReport, relays: Relays) -> PathsReport:
    """The report with its relayed candidates' regions and relays named."""

    def named(candidate: CandidateReport) -> CandidateReport:
        if not candidate.relayed:
            return candidate
        region, relay = _at(candidate.endpoint, relays)
        return msgspec.structs.replace(candidate, region=region, relay=relay)

    return msgspec.structs.replace(report, candidates=tuple(map(named, report.candidates)))


def _at(endpoint: str, relays: Relays) -> tuple[str, str]:
    """Region and relay of a relay's endpoint, as far as they are known."""
    number = region_of(endpoint)
    return relays.region_name(number), relays.relay_name(number)


def home_status(relays: Relays) -> HomeStatus | None:
    """This node's home, where it has one."""
    home = relays.home
    if home is None:
        return None
    name, relay = relays.region_name(home), relays.relay_name(home)
    return HomeStatus(region=home, name=name, relay=relay, connected=relays.connected())


def region_of(endpoint: str) -> int | None:
    """The region in a relay's endpoint; None where none is known, or the endpoint is another transport's."""
    try:
        return parse_relay_endpoint(endpoint)[0] or None
    except ValueError:
        return None
