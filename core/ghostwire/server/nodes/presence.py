"""Who is online and where: reports from nodes, the leases of this server's streams, and who wants whom.

Nothing of this is a record. A node's report counts if its (session, sequence) is higher than the last one's. What a
node reported last stays known after its stream ends, since it may be reachable still. An interest lasts until the node
withdraws it or its stream ends; both ends are told each other's endpoints, and again whenever they change. Of a node
whose endpoints change all the time others are told only so often, for up to a thousand hear of each change; they learn
the latest with the next change, when they ask anew, or by the node's own call.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ghostwire.model import Endpoint
from ghostwire.wire.messages import MAX_ENDPOINT_TEXT, MAX_ENDPOINTS, PeerEndpoints, Report

MAX_INTERESTS = 1024
"""Interests of one node at a time; the oldest makes room."""
CHANGES, EVERY = 16, 10
"""Changes of one node's endpoints that others are told at once, and the seconds to one more."""


@dataclass(slots=True)
class Lease:
    """What is known of one node: whether it is connected, when it last was (Unix seconds), and its last report.

    ``even`` is when the changes of its endpoints that were told have been made up for.
    """

    online: bool = False
    last_seen: int | None = None
    version: tuple[int, int] = (-1, -1)
    endpoints: tuple[Endpoint, ...] = ()
    told: bool = False
    even: int = 0

    def may_change(self, now: int) -> bool:
        """Whether to tell others of one more change."""
        most = now + CHANGES * EVERY
        self.even = min(max(now, self.even), most)
        if self.even + EVERY > most:
            return False
        self.even += EVERY
        return True


Tell = Callable[[int, PeerEndpoints], None]


class Presence:
    """``tell(node, message)`` sends to a node's stream if it has one."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._leases: dict[int, Lease] = {}
        self._wants: dict[int, dict[int, None]] = {}
        self._wanted_by: defaultdict[int, set[int]] = defaultdict(set)
        self.online = 0

    def lease(self, node: int) -> Lease:
        """What is known of a node; an empty lease where nothing is."""
        return self._leases.get(node, _UNKNOWN)

    def arrive(self, node: int, now: int) -> None:
        """The node has a stream; interests of an older one are void."""
        lease = self._leases.setdefault(node, Lease())
        self._withdraw_all(node)
        self.online += not lease.online
        lease.online, lease.last_seen, lease.told = True, now, False

    def depart(self, node: int, now: int) -> None:
        """The node's stream ended."""
        lease = self._leases.get(node)
        if lease is not None and lease.online:
            lease.online, lease.last_seen = False, now
            self.online -= 1
        self._withdraw_all(node)

    def remove(self, node: int) -> None:
        """The node is no more."""
        self._withdraw_all(node)
        for viewer in self._wanted_by.pop(node, set()):
            self._wants[viewer].pop(node, None)
        lease = self._leases.pop(node, None)
        self.online -= bool(lease and lease.online)

    def report(self, node: int, report: Report, now: int) -> bool:
        """Take a report; False where it is older than the last."""
        lease = self._leases.setdefault(node, Lease())
        if (report.session, report.sequence) <= lease.version:
            return False
        lease.version = (report.session, report.sequence)
        endpoints = _bounded(report.endpoints)
        changed, first = endpoints != lease.endpoints and lease.may_change(now), not lease.told
        lease.endpoints, lease.told = endpoints, True
        for other in self._others(node):
            if changed or first:
                self._introduce(other, node)
            if first:
                self._introduce(node, other)
        return True

    def interest(self, node: int, peer: int, wanted: bool) -> None:
        """The node wants, or no longer wants, to reach the peer."""
        if not wanted:
            self._withdraw(node, peer)
            return
        wants = self._wants.setdefault(node, {})
        if len(wants) >= MAX_INTERESTS and peer not in wants:
            self._withdraw(node, next(iter(wants)))
        wants[peer] = None
        self._wanted_by[peer].add(node)
        self._introduce(node, peer)
        self._introduce(peer, node)

    def refresh(self, node: int) -> None:
        """Tell a node again where all peers are that it has to do with (it was too slow to be told)."""
        for other in self._others(node):
            self._introduce(node, other)

    def _others(self, node: int) -> Iterable[int]:
        return {*self._wants.get(node, ()), *self._wanted_by.get(node, ())}

    def _introduce(self, to: int, peer: int) -> None:
        lease = self._leases.get(peer)
        if lease is not None and lease.endpoints:
            self._tell(to, PeerEndpoints(node=peer, endpoints=lease.endpoints))

    def _withdraw(self, node: int, peer: int) -> None:
        self._wants.get(node, {}).pop(peer, None)
        wanting = self._wanted_by.get(peer)
        if wanting is not None:
            wanting.discard(node)
            if not wanting:
                del self._wanted_by[peer]

    def _withdraw_all(self, node: int) -> None:
        for peer in list(self._wants.pop(node, ())):
            self._withdraw(node, peer)


_UNKNOWN = Lease()


def _bounded(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    fitting = (endpoint for endpoint in endpoints if len(endpoint.text) <= MAX_ENDPOINT_TEXT)
    return tuple(dict.fromkeys(fitting))[:MAX_ENDPOINTS]
