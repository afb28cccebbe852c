"""The control plane: everything of the server that stands behind the front door, composed and started in order.

It needs no socket and no file of its own, so a test runs it whole in memory: give `accept` control streams.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from ghostwire.capabilities.authentication import Authenticator
from ghostwire.capabilities.policy import PolicyEngine
from ghostwire.capabilities.storage import Commit, Storage, Transaction
from ghostwire.capabilities.telemetry import Metrics
from ghostwire.config import ServerConfig
from ghostwire.engine import Clock, Entropy
from ghostwire.model import Node, Relay, User
from ghostwire.server.compaction import Compaction
from ghostwire.server.gate import Gate
from ghostwire.server.maps import Maps
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.nodes.addresses import AddressPlan, stored_prefix
from ghostwire.server.nodes.administration import Administration, make_user
from ghostwire.server.nodes.enrolment import Enrolment
from ghostwire.server.nodes.ephemeral import Ephemeral
from ghostwire.server.nodes.expiry import Expiry
from ghostwire.server.nodes.sessions import EXPIRED, REMOVED, Sessions
from ghostwire.server.policy.policies import Policies
from ghostwire.server.relays.relays import Relays
from ghostwire.server.routes.reported import Reported
from ghostwire.server.routes.rules import Rules
from ghostwire.server.views.fanout import Fanout
from ghostwire.wire.messages import HomeRelay, RelayHello

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
        self.maps = Maps(self.policies.current, entropy(8).hex(), self.mesh.now, epoch)
        self.policies.follow(self.maps.adopt)
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
        self._started = False

    async def start(self) -> None:
        """Open the storage, read it, and be ready for streams; StateError where the storage can't be used."""
        snapshot = await self.mesh.open(self._storage)
        try:
            self.policies.start()
            log = await self._storage.log(snapshot.oldest - 1)
            self.maps.load(snapshot, log or ())
            self.mesh.follow(self._committed)
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

    def hang_up(self) -> None:
        """Tell all who are connected that the server goes; harmless when called twice."""
        self.sessions.close()
        self.relays.hang_up()

    async def close(self) -> None:
        """End the sessions, then the storage; harmless when called twice."""
        if self._started:
            self._started = False
            self._expiry.close()
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
        if isinstance(hello, RelayHello):
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
        }

    def register(self, metrics: Metrics) -> None:
        """Make the plane's counters known; after `start`."""
        sessions, streams, gate = self.sessions, self.streams, self.gate
        metrics.gauge("server_nodes", "Nodes in the mesh", lambda: self.mesh.state.count(Node))
        metrics.gauge("server_sessions", "Nodes that are connected", lambda: sessions.presence.online)
        metrics.gauge("server_relays", "Relays in the mesh", lambda: self.mesh.state.count(Relay))
        metrics.gauge("server_relay_sessions", "Relays that are connected", lambda: self.relays.connected)
        metrics.gauge("server_revision", "The last commit's revision", lambda: self.mesh.state.revision)
        metrics.counter("server_registrations_total", "Machines enrolled or renewed", lambda: gate.registrations)
        metrics.counter("server_complaints_total", "Streams refused or cut", lambda: gate.complaints.total)
        metrics.counter("server_map_frames_total", "Map frames sent", lambda: streams.frames)
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
        self.sessions.arrived, self.sessions.departed = self._arrived, self._ephemeral.departed
        self.sessions.homed, self.sessions.missed = self.relays.homes.reported, self.relays.homes.missed
        self.routes = self._reported_routes()
        self.sessions.routed, self.routes.down = self.routes.take, self.maps.route_down
        self.policies.follow(self.routes.policy_changed)
        self._expiry = Expiry(self.mesh.state, self.mesh.now, self._key_ended)
        self._compaction = Compaction(self._storage, self.mesh, self.maps, self._config.keep_revisions, self._log)

    def _reported_routes(self) -> Reported:
        mesh, url = (self.plan.ipv4, self.plan.ipv6), self._config.url
        longest = self._config.overlapping_routes == "longest"
        rules = partial(Rules, mesh, url)
        return Reported(self.mesh, rules, self.gate.spawn, self._clock, self._log, longest=longest)

    def _committed(self, commit: Commit) -> None:
        self.maps.apply(commit)
        self.policies.committed(commit)
        if not self._started:
            return
        for change in commit.changes:
            if change.kind is Node and change.record is None:
                self._log.info("node %d is removed", change.id)
                self.sessions.presence.remove(change.id)
                self.sessions.end(change.id, REMOVED)
        self._ephemeral.apply(commit)
        self._expiry.apply(commit)
        self.relays.committed(commit)
        self.routes.committed(commit)

    def _key_ended(self, node: Node) -> None:
        self.maps.expire(node.id)
        self.sessions.end(node.id, EXPIRED)
        self.relays.expired(node)

    def _arrived(self, node: int) -> None:
        self._ephemeral.arrived(node)
        self.relays.homes.arrived(node)

    def _tell(self, node: int, message: HomeRelay) -> None:
        self.sessions.tell(node, message)
