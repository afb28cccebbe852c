"""Who is online and where: reports from nodes, the leases of all servers' streams, and who wants whom.

Nothing of this is a record. A node's report counts if its (session, sequence) is higher than the last one's, whichever
server heard that; where two machines claim to be one node, the last write counts. A node is online while any server has
a stream of it, and the older of two streams is ended. What a node reported last stays known after its stream ends,
since it may be reachable still. An interest lasts until the node withdraws it or its stream ends; both ends are told
each other's endpoints, and again whenever they change. Of a node whose endpoints change all the time others are told
only so often, for up to a thousand hear of each change; they learn the latest with the next change, when they ask anew,
or by the node's own call.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from ghostwire.model import Endpoint
from ghostwire.server.cluster.entries import LeaseEntry
from ghostwire.server.nodes.interests import HERE, Interests
from ghostwire.server.nodes.lease import Lease
from ghostwire.wire.messages import MAX_ENDPOINT_TEXT, MAX_ENDPOINTS, PeerEndpoints, Report

Tell = Callable[[int, PeerEndpoints], None]
Heard = Callable[[int, Lease], None]
Hook = Callable[[int], None]


class Presence:
    """``tell(node, message)`` sends to a node's stream if it has one here; ``server`` is this server's id.

    Set ``changed`` and ``wanted`` to hear of what other servers are to be told; ``arrived`` and ``departed`` to hear
    who is online anywhere, ``heard`` what others say, ``replaced`` whose stream here is not the newest.
    """

    def __init__(self, tell: Tell, server: str = HERE) -> None:
        self._tell, self._server = tell, server
        self._leases: dict[int, Lease] = {}
        self._interests = Interests()
        self._held: defaultdict[str, set[int]] = defaultdict(set)
        self.online = self.here = 0
        self.several = False
        """Whether there may be other servers."""
        self.changed: Hook = _nobody
        self.wanted: Hook = _nobody
        self.arrived: Hook = _nobody
        self.departed: Hook = _nobody
        self.replaced: Hook = _nobody
        self.heard: Heard = _nothing

    def lease(self, node: int) -> Lease:
        """What is known of a node; an empty lease where nothing is."""
        return self._leases.get(node, _UNKNOWN)

    def arrive(self, node: int, now: int) -> None:
        """The node has a stream here; interests of an older one are void."""
        lease = self._leases.setdefault(node, Lease())
        self._forget_wishes(node)
        self.here += not lease.here
        lease.here, lease.last_seen, lease.told = True, now, False
        lease.write(now)
        self._weigh(node, lease)
        self.changed(node)

    def depart(self, node: int, now: int) -> None:
        """The node's stream ended."""
        lease = self._leases.get(node)
        self._forget_wishes(node)
        if lease is not None and lease.here:
            self.here -= 1
            lease.here, lease.last_seen = False, now
            lease.write(now)
            self._weigh(node, lease)
            self.changed(node)

    def remove(self, node: int) -> None:
        """The node is no more."""
        self._interests.clear(node)
        lease = self._leases.pop(node, None)
        if lease is not None:
            self.online -= lease.online
            self.here -= lease.here
            for server in lease.others:
                self._held[server].discard(node)
            self.changed(node)
            self.wanted(node)

    def report(self, node: int, report: Report, now: int) -> bool:
        """Take a report; False where it is older than the last."""
        lease = self._leases.setdefault(node, Lease())
        version = (report.session, report.sequence)
        if version <= lease.version:
            return False
        lease.write(now)
        lease.gap = self.several and not lease.follows(version)
        lease.version, lease.written = version, (lease.wrote, self._server)
        endpoints = _bounded(report.endpoints)
        changed, first = endpoints != lease.endpoints and lease.may_change(now), not lease.told
        lease.endpoints, lease.told = endpoints, True
        self._tell_others(node, others=changed or first, itself=first)
        self.changed(node)
        for entry in lease.others.values():
            self._compare(node, lease, entry)
        return True

    def place(self, node: int, home: int | None, relay: int | None) -> None:
        """This is its home region, and the relay there that it is to be at."""
        lease = self._leases.get(node)
        if lease is not None and (lease.home, lease.relay) != (home, relay):
            lease.home, lease.relay = home, relay
            self.changed(node)

    def fail(self, node: int, down: Iterable[str]) -> None:
        """These of its routes it cannot reach."""
        lease = self._leases.get(node)
        if lease is not None and lease.down != tuple(sorted(down)):
            lease.down = tuple(sorted(down))
            self.changed(node)

    def interest(self, node: int, peer: int, wanted: bool) -> None:
        """The node wants, or no longer wants, to reach the peer."""
        if wanted:
            self._interests.want(node, peer)
            self._introduce(node, peer)
            self._introduce(peer, node)
        else:
            self._interests.drop(HERE, node, peer)
        self.wanted(node)

    def refresh(self, node: int) -> None:
        """Tell a node again where all peers are that it has to do with (it was too slow to be told)."""
        self._tell_others(node, others=False, itself=True)

    # Among servers

    def entry(self, node: int) -> LeaseEntry | None:
        """What this server has to say of a node; None where that is for others to say, or nobody."""
        lease = self._leases.get(node)
        if lease is None or not (lease.here or lease.written[1] == self._server):
            return None
        session, sequence = lease.version
        return LeaseEntry(
            at=lease.wrote,
            online=lease.here,
            reported=lease.told and lease.here,
            last_seen=lease.last_seen,
            session=session,
            sequence=sequence,
            endpoints=lease.endpoints,
            home=lease.home,
            relay=lease.relay,
            down=lease.down,
        )

    def wishes(self, node: int) -> tuple[int, ...]:
        """The peers that a node with a stream here wants."""
        return tuple(self._interests.of(node))

    def take(self, server: str, node: int, entry: LeaseEntry | None, now: int, *, known: bool = True) -> None:
        """Another server says this of a node, or nothing any more; ``known``: the node is in the mesh."""
        lease = self._leases.setdefault(node, Lease())
        if entry is None:
            lease.others.pop(server, None)
            self._held[server].discard(node)
        else:
            lease.others[server] = entry
            self._held[server].add(node)
            lease.at = max(lease.at, entry.at)
        self._weigh(node, lease)
        if entry is not None:
            lease.last_seen = max(filter(None, (lease.last_seen, entry.last_seen)), default=None)
            self._hear(server, node, lease, entry, now)
            self._compare(node, lease, entry)
        elif not (known or lease.here or lease.others):
            del self._leases[node]

    def want(self, server: str, node: int, peers: Iterable[int]) -> None:
        """Another server says whom a node wants: all of them."""
        for peer in self._interests.replace(server, node, peers):
            self._introduce(node, peer)
            self._introduce(peer, node)

    def count(self, server: str) -> int:
        """How many nodes have a stream at another server."""
        return sum(self._leases[node].others[server].online for node in self._held.get(server, ()))

    def _hear(self, server: str, node: int, lease: Lease, entry: LeaseEntry, now: int) -> None:
        """Believe what is newer; of one report a server may say more later, as where the node is to be."""
        if (entry.version, (entry.at, server)) < (lease.version, lease.written):
            return
        mine = lease.written[1] == self._server and not lease.here
        lease.gap = not lease.follows(entry.version)
        changed = entry.endpoints != lease.endpoints and lease.may_change(now)
        lease.version, lease.written, lease.endpoints = entry.version, (entry.at, server), entry.endpoints
        lease.home, lease.relay, lease.down = entry.home, entry.relay, entry.down
        self._tell_others(node, others=changed, itself=False)
        self.heard(node, lease)
        if mine:
            self.changed(node)

    def _compare(self, node: int, lease: Lease, entry: LeaseEntry) -> None:
        """End the stream here where another server's is newer: by the node's word, or by when they began to be."""
        if not (lease.here and entry.online):
            return
        server = next(server for server, each in lease.others.items() if each is entry)
        mine, theirs = (lease.wrote, self._server), (entry.at, server)
        if lease.told and entry.reported:
            newer = entry.version > lease.version or (entry.version == lease.version and theirs > mine)
        else:
            newer = entry.reported and theirs > mine
        if newer:
            self.replaced(node)

    def _weigh(self, node: int, lease: Lease) -> None:
        """Whether it is online, and whether that is news."""
        online = lease.here or any(entry.online for entry in lease.others.values())
        if online != lease.online:
            lease.online = online
            self.online += 1 if online else -1
            (self.arrived if online else self.departed)(node)

    def _tell_others(self, node: int, *, others: bool, itself: bool) -> None:
        for other in self._interests.about(node) if others or itself else ():
            if others:
                self._introduce(other, node)
            if itself:
                self._introduce(node, other)

    def _introduce(self, to: int, peer: int) -> None:
        lease = self._leases.get(peer)
        if lease is not None and lease.endpoints:
            self._tell(to, PeerEndpoints(node=peer, endpoints=lease.endpoints))

    def _forget_wishes(self, node: int) -> None:
        self._interests.replace(HERE, node, ())
        self.wanted(node)


_UNKNOWN = Lease()


def _bounded(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    fitting = (endpoint for endpoint in endpoints if len(endpoint.text) <= MAX_ENDPOINT_TEXT)
    return tuple(dict.fromkeys(fitting))[:MAX_ENDPOINTS]


def _nobody(_node: int) -> None:
    """Nobody wants to know."""


def _nothing(_node: int, _lease: Lease) -> None:
    """Nobody wants to know."""
