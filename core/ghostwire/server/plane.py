"""The control plane: everything of the server that stands behind the front door, composed and started in order.

It needs no socket and no file of its own, so a test runs it whole in memory: give `accept` control streams.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from ghostwire.capabilities.authentication import Authenticator
from ghostwire.capabilities.policy import PolicyEngine
from ghostwire.capabilities.storage import Commit, Storage, Transaction
from ghostwire.capabilities.telemetry import Metrics
from ghostwire.config import ServerConfig
from ghostwire.engine import Clock, Entropy
from ghostwire.model import Node, Relay, User
from ghostwire.server.cluster.cluster import Cluster
from ghostwire.server.cluster.entries import (
    NODE,
    RELAY,
    SERVER,
    WANTS,
    Entry,
    LeaseEntry,
    RelayEntry,
    ServerEntry,
    WantsEntry,
)
from ghostwire.server.compaction import Compaction
from ghostwire.server.gate import AWAY, Gate
from ghostwire.server.maps import Maps
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.nodes.addresses import AddressPlan, stored_prefix
from ghostwire.server.nodes.administration import Administration, make_user
from ghostwire.server.nodes.enrolment import Enrolment
from ghostwire.server.nodes.ephemeral import Ephemeral
from ghostwire.server.nodes.expiry import Expiry
from ghostwire.server.nodes.lease import Lease
from ghostwire.server.nodes.sessions import EXPIRED, REMOVED, Sessions
from ghostwire.server.policy.policies import Policies
from ghostwire.server.relays.relays import Relays
from ghostwire.server.routes.reported import Reported
from ghostwire.server.routes.rules import Rules
from ghostwire.server.views.fanout import Fanout
from ghostwire.wire.messages import HomeRelay, RelayHello, Report

if TYPE_CHECKING:
    from ghostwire.capabilities.control import NodeStream

FIRST_USER = "admin"


class ControlPlane:
    """Made of a mesh that is not open yet and the storage for it; ``authenticators`` by their scheme."""

    def __init__(
        self,
        mesh: LiveMesh,
        storage: Storage,
        authenticators: Iterable[Authenticator],
        config: ServerConfig,
        *,
        clock: Clock,
        entropy: Entropy,
        log: logging.Logger,
        engine: PolicyEngine | None = None,
        epoch: str = "",
    ) -> None:
        self.mesh = mesh
        self._authenticators = {authenticator.name: authenticator for authenticator in authenticators}
        self._storage, self._config, self._clock, self._entropy, self._log = storage, config, clock, entropy, log
        self.policies = Policies(mesh, engine, config.without_policy, log)
        self.maps = Maps(self.policies.current, entropy(8).hex(), self.mesh.now, epoch, elapsed=clock.now)
        self.policies.adopting, self.policies.settled = self.maps.adopting, self.maps.settled
        self.streams = Fanout(self.maps, clock.now)
        self.gate = Gate(mesh, clock, log)
        self.relays = Relays(mesh, self.gate, self._tell, clock=clock, entropy=entropy, log=log)
        self.plan: AddressPlan
        self.administration: Administration
        self.sessions: Sessions
        self.routes: Reported
        self._ephemeral: Ephemeral
        self._expiry: Expiry
        self._compaction: Compaction
        self.cluster: Cluster
        self.about = ServerEntry(name="", since=self.mesh.now())
        """What other servers are told of this one."""
        self.following = True
        """Whether this server sees what the others write; if not, it serves nobody."""
        self._watchers: list[Callable[[bool], None]] = []
        self._strange: set[int] = set()
        self._early: list[Commit] | None = []
        self._started = False
        self.first = False
        """Whether nothing was in the database: a new mesh has begun."""

    async def start(self) -> None:
        """Open the storage, read it, and be ready for streams; StateError where the storage can't be used."""
        self.mesh.follow(self._hear)
        snapshot = await self.mesh.open(self._storage)
        self.first = not snapshot.revision
        try:
            log = await self._storage.log(snapshot.oldest - 1)
            self.policies.start()
            self.maps.adopt(self.policies.current)
            self.maps.load(snapshot, [commit for commit in log or () if commit.revision <= snapshot.revision])
            self._catch_up()
            self._compose(await self.mesh.write(self._first_start))
        except BaseException:
            await self.mesh.close()
            raise
        self.routes.policy_changed(self.policies.current)
        self._ephemeral.start(self.mesh.list(Node))
        self._expiry.start(self.mesh.list(Node))
        self._compaction.start()
        self.relays.start()
        self.streams.start()
        self._started = True
        self._storage.follow(self._follow)
        self.cluster.join(self._storage.exchange)
        self.cluster.post(SERVER, 0, self.about)

    def introduce(self, *, name: str, version: str) -> None:
        """Tell the other servers whose this is."""
        self.about = msgspec.structs.replace(self.about, name=name, version=version)
        self.cluster.post(SERVER, 0, self.about)

    def on_following(self, following: Callable[[bool], None]) -> None:
        """Call this when the server can't follow the others any more, and when it can again."""
        self._watchers.append(following)

    def hang_up(self) -> None:
        """Tell all who are connected that the server goes; harmless when called twice."""
        self.sessions.close()
        self.relays.hang_up()

    async def close(self) -> None:
        """End the sessions, then the storage; harmless when called twice."""
        if self._started:
            self._started = False
            self.cluster.close()
            self._expiry.close()
            await self.policies.close()
            self.hang_up()
            await self.relays.close()
            self.routes.close()
            await self.gate.close()
            await self._ephemeral.close()
            await self._compaction.close()
            await self.streams.close()
            await self.mesh.close()

    def accept(self, stream: NodeStream) -> None:
        """Take a control stream whose hello is there."""
        hello = stream.hello
        if not self.following:
            self.gate.refuse(stream, AWAY.code, AWAY.message, AWAY.retry_after)
        elif isinstance(hello, RelayHello):
            self.relays.sessions.accept(stream, hello)
        else:
            self.sessions.accept(stream, hello)

    def describe(self) -> dict[str, Any]:
        """The mesh in figures."""
        state = self.mesh.state
        return {
            "revision": state.revision,
            "domain": self._config.domain,
            "ipv4": str(self.plan.ipv4),
            "ipv6": str(self.plan.ipv6),
            "nodes": state.count(Node),
            "users": state.count(User),
            "online": self.sessions.presence.online,
            "relays": state.count(Relay),
            "relays_connected": self.relays.connected,
            "policy": self.policies.describe(),
            "following": self.following,
            "servers": self.servers() if self.cluster.shared else [],
        }

    def servers(self) -> list[dict[str, Any]]:
        """The servers of the mesh, this one first, those that are gone last: as `ServerOfMesh` says."""
        presence = self.sessions.presence
        others = sorted(self.cluster.others.items(), key=lambda item: item[1].name)
        known: list[tuple[str, ServerEntry, int, int | None]] = [(self.maps.server, self.about, presence.here, None)]
        known += [(id_, entry, presence.count(id_), None) for id_, entry in others]
        known += [(id_, entry, 0, at) for id_, (entry, at) in self.cluster.lost.items()]
        return [
            {"id": id_, "name": e.name, "version": e.version, "since": e.since, "streams": streams, "gone": gone}
            for id_, e, streams, gone in known
        ]

    def register(self, metrics: Metrics) -> None:
        """Make the plane's counters known; after `start`."""
        sessions, streams, gate = self.sessions, self.streams, self.gate
        metrics.gauge("server_nodes", "Nodes in the mesh", lambda: self.mesh.state.count(Node))
        metrics.gauge("server_sessions", "Nodes that are connected", lambda: sessions.presence.here)
        metrics.gauge("server_others", "Other servers of the mesh", lambda: len(self.cluster.others))
        metrics.gauge("server_following", "Whether it sees what others write", lambda: int(self.following))
        metrics.counter("server_others_lost_total", "Other servers that were gone", lambda: self.cluster.losses)
        metrics.counter("server_notices_total", "What other servers told", lambda: self.cluster.notices)
        metrics.gauge("server_relays", "Relays in the mesh", lambda: self.mesh.state.count(Relay))
        metrics.gauge("server_relay_sessions", "Relays that are connected", lambda: self.relays.connected)
        metrics.gauge("server_revision", "The last commit's revision", lambda: self.mesh.state.revision)
        metrics.counter("server_registrations_total", "Machines enrolled or renewed", lambda: gate.registrations)
        metrics.counter("server_complaints_total", "Streams refused or cut", lambda: gate.complaints.total)
        metrics.counter("server_map_frames_total", "Map frames sent", lambda: streams.frames)
        metrics.counter("server_map_questions_refused_total", "Too many of nodes for maps", lambda: streams.refused)
        metrics.counter("server_slow_readers_total", "Streams passed over as too slow", lambda: streams.skipped)

    def _first_start(self, transaction: Transaction) -> str:
        """Make what every mesh has, where it is not there yet; the IPv6 network."""
        if not transaction.find(User):
            make_user(transaction, FIRST_USER, self._entropy(8).hex(), self.mesh.now())
        return self._config.ipv6 or stored_prefix(transaction, self._entropy)

    def _compose(self, ipv6: str) -> None:
        self.plan = AddressPlan(self._config.ipv4, ipv6)
        self.administration = Administration(self.mesh, self.plan, self._entropy)
        self.sessions = Sessions(
            self.mesh,
            self.maps,
            self.streams,
            Enrolment(self._authenticators, self.plan, self._entropy),
            self.gate,
            self.administration.remove,
            domain=self._config.domain,
            log=self._log,
        )
        self._ephemeral = Ephemeral(self.administration.remove, self.sessions.online, self._config.ephemeral_grace)
        self.sessions.arrived, self.sessions.homed = self._arrived, self._homed
        self.sessions.missed = self.relays.homes.missed
        self.routes = self._reported_routes()
        self.sessions.routed, self.routes.down = self._routed, self._routes_down
        self.policies.follow(self.routes.policy_changed)
        self._meet_others()
        self._expiry = Expiry(self.mesh.state, self.mesh.now, self._key_ended, self.maps.revive)
        self._compaction = Compaction(self._storage, self.mesh, self.maps, self._config.keep_revisions, self._log)

    def _meet_others(self) -> None:
        """Let what each server knows alone reach the others."""
        presence, relays = self.sessions.presence, self.relays
        handlers = {NODE: self._hear_of_node, WANTS: self._hear_of_wishes, RELAY: self._hear_of_relay}
        self.cluster = Cluster(self.maps, handlers, self.mesh.now, self._log)
        presence.arrived, presence.departed = self._ephemeral.arrived, self._ephemeral.departed
        presence.heard = self._placed
        relays.shared = presence.several = self._storage.exchange is not None
        if relays.shared:
            post = self.cluster.post
            presence.changed = lambda node: post(NODE, node, presence.entry(node))
            presence.wanted = lambda node: post(WANTS, node, _wishes(presence.wishes(node)))
            relays.changed = lambda relay: post(RELAY, relay, relays.entry(relay))

    def _reported_routes(self) -> Reported:
        mesh, url = (self.plan.ipv4, self.plan.ipv6), self._config.url
        longest = self._config.overlapping_routes == "longest"
        rules = partial(Rules, mesh, url)
        return Reported(self.mesh, rules, self.gate.spawn, self._clock, self._log, longest=longest)

    def _hear(self, commit: Commit) -> None:
        """Others may commit before this server has read all that was."""
        if self._early is None:
            self._committed(commit)
        else:
            self._early.append(commit)

    def _catch_up(self) -> None:
        early, self._early = self._early or (), None
        for commit in early:
            self._committed(commit)

    def _committed(self, commit: Commit) -> None:
        self.maps.apply(commit)
        self.policies.committed(commit)
        if not self._started:
            return
        self.sessions.ahead.committed()
        for change in commit.changes:
            if change.kind is Node and change.record is None:
                self._log.info("node %d is removed", change.id)
                self.sessions.presence.remove(change.id)
                self.sessions.end(change.id, REMOVED)
        self._ephemeral.apply(commit)
        self._expiry.apply(commit)
        self.relays.committed(commit)
        self.routes.committed(commit)
        for node in self._strange & {change.id for change in commit.changes if change.kind is Node}:
            self._strange.discard(node)
            if (lease := self.sessions.presence.lease(node)).others and not lease.here:
                self._placed(node, lease)

    def _key_ended(self, node: Node) -> None:
        self.maps.expire(node.id)
        self.sessions.end(node.id, EXPIRED)
        self.relays.expired(node)

    def _tell(self, node: int, message: HomeRelay) -> None:
        self.sessions.presence.place(node, message.region, message.relay)
        self.sessions.tell(node, message)

    # What nodes say

    def _arrived(self, node: int) -> None:
        self._expiry.look(node)
        self.relays.homes.arrived(node)

    def _homed(self, node: int, region: int | None, relay: int | None) -> int | None:
        known = self.relays.homes.reported(node, region, relay)
        _, at = self.relays.homes.of(node) or (None, None)
        self.sessions.presence.place(node, known, at)
        return known

    def _routed(self, node: int, report: Report) -> None:
        self.routes.take(node, report)
        if self.sessions.presence.lease(node).gap and self.mesh.state.routes_of(node):
            self._routes_down(node, frozenset(self.routes.down_of(node)))

    def _routes_down(self, node: int, down: frozenset[str]) -> None:
        presence = self.sessions.presence
        self.maps.route_down(node, down, again=presence.lease(node).gap)
        presence.fail(node, down)

    # What other servers say

    def _hear_of_node(self, server: str, node: int, entry: Entry | None) -> None:
        assert entry is None or isinstance(entry, LeaseEntry)
        known = self.mesh.state.get(Node, node) is not None
        self.sessions.presence.take(server, node, entry, self.mesh.now(), known=known)

    def _hear_of_wishes(self, server: str, node: int, entry: Entry | None) -> None:
        self.sessions.presence.want(server, node, entry.peers if isinstance(entry, WantsEntry) else ())

    def _hear_of_relay(self, server: str, relay: int, entry: Entry | None) -> None:
        assert entry is None or isinstance(entry, RelayEntry)
        self.relays.take(server, relay, entry)

    def _placed(self, node: int, lease: Lease) -> None:
        """Another server said where a node is; of one whose record has yet to come it is seen to when that does."""
        if self.mesh.state.get(Node, node) is None:
            self._strange.add(node)
            return
        home = self.relays.homes.elsewhere(node, lease.home, lease.relay)
        self.maps.move(node, home, again=lease.gap)
        self.routes.elsewhere(node, lease.down)
        if lease.down or self.mesh.state.routes_of(node):
            self.maps.route_down(node, frozenset(lease.down), again=lease.gap)

    def _follow(self, following: bool) -> None:
        """Without the database this server would tell its nodes an old map: they go to another."""
        self.following = following
        if following:
            self._log.warning("the database is in reach again: this server serves nodes again")
            self._ephemeral.begin_anew()
        else:
            self._log.error("the database has been out of reach for too long: nodes are sent to other servers")
            self.sessions.close(AWAY)
            self.relays.sessions.close(AWAY)
        for watcher in self._watchers:
            watcher(following)


def _wishes(peers: tuple[int, ...]) -> WantsEntry | None:
    return WantsEntry(peers) if peers else None
