"""Answers questions about a node: its status, whether a peer answers an echo, and which way packets go to it."""

from __future__ import annotations

import msgspec

from ghostwire import Path, PeerStats
from ghostwire.errors import NotFound, Unavailable, UsageError
from ghostwire.model import MapNode
from ghostwire.node.dataplane import Dataplane
from ghostwire.node.knowledge import Knowledge
from ghostwire.node.member import Member
from ghostwire.node.parts import Parts
from ghostwire.node.paths.report import PathsReport
from ghostwire.node.status import (
    OwnStatus,
    PathStatus,
    PeerStatus,
    ServerStatus,
    State,
    Status,
    home_status,
    name_relays,
    path_status,
    peer_status,
)


class PingResult(msgspec.Struct, frozen=True, kw_only=True):
    """An echo through the mesh that was answered; ``path`` is the one over which the answer came."""

    address: str
    name: str
    rtt_ms: float
    path: PathStatus | None


class Reporter:
    """Looks at one moment's parts, knowledge and dataplane (None while there is none)."""

    def __init__(self, parts: Parts, knowledge: Knowledge, plane: Dataplane | None) -> None:
        self._parts, self._knowledge, self._plane = parts, knowledge, plane

    def status(self, state: State, member: Member, trouble: str) -> Status:
        """Everything there is to show."""
        welcome, parts, plane = self._knowledge.welcome, self._parts, self._plane
        return Status(
            state=state,
            server=ServerStatus(
                url=member.url,
                connected=member.connected,
                last_error=member.last_error,
                last_connected=member.last_connected or (welcome.server_time or None if welcome is not None else None),
            ),
            own=self._own(),
            domain=welcome.domain if welcome is not None else "",
            interface=parts.interface,
            tunnel=parts.tunnel.name,
            transports=tuple(plane.transport_statuses()) if plane is not None else (),
            peers=tuple(self._peers()),
            counters=parts.metrics.values(),
            trouble=trouble,
            filter_trouble=plane.filter_trouble if plane is not None else "",
            home=home_status(plane.relays) if plane is not None else None,
            map=member.upkeep.status,
        )

    async def ping(self, target: str, timeout: float) -> PingResult:
        """One echo to a node's name or mesh address; Unavailable says what is known of the way there."""
        plane = self._running()
        node, address = self._find(target)
        try:
            rtt = await self._parts.echo(address, timeout)
        except Unavailable as error:
            raise self._unanswered(plane, node, error) from None
        path = path_status(_heard_over(plane, node.id), plane.relays)
        return PingResult(address=address, name=node.name, rtt_ms=round(rtt * 1000, 3), path=path)

    def paths(self, target: str) -> PathsReport:
        """Which ways there are to the peer of this name or mesh address, and why packets go as they do."""
        plane = self._running()
        node, _ = self._find(target)
        if self._is_own(node):
            raise UsageError(f"{node.name} is this node itself, to which no path leads; gwctl status lists its peers")
        return name_relays(plane.explain(node.id), plane.relays)

    def _running(self) -> Dataplane:
        if self._plane is None:
            raise Unavailable("the node is not up; run: gwctl up")
        return self._plane

    def _is_own(self, node: MapNode) -> bool:
        own = self._knowledge.own
        return own is not None and node.id == own.id

    def _unanswered(self, plane: Dataplane, node: MapNode, error: Unavailable) -> Unavailable:
        """The error with what path choice has to say of it."""
        if self._is_own(node):
            return error
        report = plane.explain(node.id)
        if not report.using:
            return Unavailable(f"no path to {node.name}: {report.why}")
        shut = "; as the path works, perhaps the policy there lets no pings in" if report.state == "direct" else ""
        return Unavailable(f"{error}; {report.state}: {report.why}{shut}")

    def _own(self) -> OwnStatus | None:
        own, welcome = self._knowledge.own, self._knowledge.welcome
        if own is None or welcome is None:
            return None
        return OwnStatus(
            id=own.id, name=own.name, addresses=own.addresses, node_key=own.node_key, expires=welcome.expires
        )

    def _peers(self) -> list[PeerStatus]:
        peers = [node for node in self._knowledge.network.nodes.values() if not self._is_own(node)]
        stats = {each.id: each for each in self._plane.stats()} if self._plane is not None else {}
        return [self._peer(node, stats.get(node.id)) for node in sorted(peers, key=lambda node: node.name)]

    def _peer(self, node: MapNode, stats: PeerStats | None) -> PeerStatus:
        plane, wall = self._plane, self._parts.clock.wall()
        if plane is None:
            return peer_status(node, stats, None, wall)
        status = peer_status(node, stats, path_status(plane.path(node.id), plane.relays), wall)
        return msgspec.structs.replace(status, state=plane.state(node.id).value, latency_ms=plane.latency(node.id))

    def _find(self, target: str) -> tuple[MapNode, str]:
        welcome = self._knowledge.welcome
        name = target.lower().rstrip(".").removesuffix(f".{welcome.domain}" if welcome is not None else "")
        for node in self._knowledge.network.nodes.values():
            if target in node.addresses:
                return node, target
            if node.name.lower() == name and node.addresses:
                return node, node.addresses[0]
        raise NotFound(f"no node named {target[:100]} is in the mesh; gwctl status lists them")


def _heard_over(plane: Dataplane, peer: int) -> Path | None:
    """The path over which a peer's last datagram came, or as long as that is not known, its confirmed one."""
    heard = next((each.heard_over for each in plane.stats() if each.id == peer), None)
    return heard or plane.path(peer)
