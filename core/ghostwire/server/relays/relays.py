"""All that the server does for relays: their sessions, whom they may serve, whom they mesh with, who is at which.

A relay has one session, at any server of the mesh; the others are told of it and of its load. Each server assigns the
nodes that are connected to it. A relay that runs in a server counts as connected to that.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Container

from ghostwire.capabilities.storage import Change, Commit
from ghostwire.engine import Clock, Entropy
from ghostwire.model import MapRelay, Node, Relay
from ghostwire.server.cluster.entries import LATEST, RelayEntry
from ghostwire.server.gate import Gate
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.relays import records
from ghostwire.server.relays.admitted import Admitted
from ghostwire.server.relays.attendance import Attendance
from ghostwire.server.relays.homes import Homes
from ghostwire.server.relays.mesh_keys import MeshKeys
from ghostwire.server.relays.sessions import REKEYED, REMOVED, REPLACED, RelaySessions
from ghostwire.server.streams import Streams
from ghostwire.wire.messages import HomeRelay


class Relays:
    """Follows the mesh from `start` on. ``tell(node, message)`` sends to a node's session, if it has one."""

    def __init__(
        self,
        mesh: LiveMesh,
        gate: Gate,
        tell: Callable[[int, HomeRelay], None],
        *,
        clock: Clock,
        entropy: Entropy,
        log: logging.Logger,
    ) -> None:
        self._mesh = mesh
        self.admitted = Admitted(mesh.now)
        self.mesh_keys = MeshKeys(entropy)
        self.homes = Homes(clock, tell, log)
        self._streams: Streams[int] = Streams(self.admitted)
        self._attendance = Attendance(self._gone)
        self.sessions = RelaySessions(mesh, gate, self._streams, self.mesh_keys, self.siblings, log)
        self.sessions.arrived, self.sessions.departed = self._arrived, self._departed
        self.sessions.loaded = self._loaded
        self._elsewhere: defaultdict[int, dict[str, RelayEntry]] = defaultdict(dict)
        self._began: dict[int, int] = {}
        self._clock = clock
        self._own: int | None = None
        self._carried = 0
        self.shared = False
        """Whether there may be other servers, with relays in them."""
        self.changed: Callable[[int], None] = _nobody
        """Called with a relay of which other servers are to know something else."""
        self._known: dict[int, Relay] = {}
        self._watchers: list[Callable[[], None]] = []
        self._key_watchers: list[Callable[[int], None]] = []
        self._left: set[int] = set()
        """Regions that a relay left who knows their key."""
        self._open = False

    def start(self) -> None:
        """Begin with the mesh as it is."""
        relays = self._mesh.list(Relay)
        self._known = {relay.id: relay for relay in relays}
        self.admitted.load(self._mesh.list(Node))
        watched = (records.ENROLLED, records.EMBEDDED) if self.shared else (records.ENROLLED,)
        self._attendance.start(relay.id for relay in relays if relay.source in watched and relay.key)
        self.homes.start(relays)
        for relay in relays:
            self._seat(relay)
        self._streams.start()
        self._open = True

    def hang_up(self) -> None:
        """End the sessions, of which nothing follows any more."""
        self._open = False
        self.sessions.close()

    async def close(self) -> None:
        """Assign nobody and expect nobody any more."""
        self._attendance.close()
        self.homes.close()
        await self._streams.close()

    @property
    def connected(self) -> int:
        """How many relays are connected to any server, those in the servers among them."""
        return sum(map(self.is_connected, self._known.values()))

    def is_connected(self, relay: Relay) -> bool:
        """Whether it is connected to any server, or runs in one."""
        alone = relay.source == records.EMBEDDED and not self.shared
        return alone or self.session_of(relay.id) is not None

    def session_of(self, relay: int) -> RelayEntry | None:
        """What is known of the relay's session at any server; None where it has none."""
        return self.entry(relay) or next(iter(self._elsewhere.get(relay, {}).values()), None)

    def host(self, relay: int | None) -> None:
        """The relay in this server has this record; None: it has none, or there is no such relay."""
        before, self._own = self._own, relay
        for id_ in {before, relay} - {None}:
            assert id_ is not None
            self.changed(id_)
        if relay in self._known and relay != before:
            self._attendance.arrived(relay)
            self._moved(relay)

    def carries(self, clients: int) -> None:
        """So many clients are connected to the relay in this server."""
        self._carried = clients
        if self._own is not None:
            self._loaded(self._own, clients)

    # Among servers

    def entry(self, relay: int) -> RelayEntry | None:
        """What this server has to say of a relay: of its session here, or that it runs here."""
        if relay == self._own:
            return RelayEntry(clients=self._carried)
        session = self.sessions.get(relay)
        if session is None:
            return None
        load, at = session.load, self._began.get(relay, 0)
        return RelayEntry(at=at, clients=load.clients, bytes_per_second=load.bytes_per_second, version=session.version)

    def take(self, server: str, relay: int, entry: RelayEntry | None) -> None:
        """Another server says this of a relay's session there, or that it has none."""
        held, was = self._elsewhere[relay], self.session_of(relay) is not None
        if entry is None:
            held.pop(server, None)
        else:
            held[server] = entry
            self.homes.load(relay, entry.clients)
            if self.sessions.get(relay) is not None and entry.at > self._began.get(relay, 0):
                self.sessions.end(relay, REPLACED)
        if not held:
            del self._elsewhere[relay]
        now = self.session_of(relay) is not None
        if now != was and self._open:
            (self._attendance.arrived if now else self._attendance.lost)(relay)
            if relay in self._known:
                self._moved(relay)

    def committed(self, commit: Commit) -> None:
        """Take over one commit, which the mesh has taken already."""
        if self.admitted.apply(commit):
            self._streams.changed()
        for change in commit.changes:
            if change.kind is Node and change.record is None:
                self.homes.forget(change.id)
        regions = {region for change in commit.changes if change.kind is Relay for region in self._take(change)}
        if regions:
            self._changed(regions)
        while self._left:
            self.rekeyed(self._left.pop())

    def expired(self, node: Node) -> None:
        """This node's key has expired."""
        if self.admitted.expire(node.id):
            self._streams.changed()

    def siblings(self, relay: Relay) -> tuple[MapRelay, ...]:
        """The other relays of its region that run."""
        others = (other for other in self._mesh.list(Relay) if other.region == relay.region and other.id != relay.id)
        return tuple(records.seen(other) for other in others if self._runs(other))

    def on_siblings(self, changed: Callable[[], None]) -> None:
        """Call this whenever anybody's `siblings` may have changed."""
        self._watchers.append(changed)

    def on_rekeyed(self, rekeyed: Callable[[int], None]) -> None:
        """Call this with a region that has a new key."""
        self._key_watchers.append(rekeyed)

    def rekeyed(self, region: int) -> None:
        """The region has a new key: its relays get it with a new session."""
        for relay in self._mesh.list(Relay):
            if relay.region == region:
                self.sessions.end(relay.id, REKEYED)
        for rekeyed in self._key_watchers:
            rekeyed(region)

    def _runs(self, relay: Relay) -> bool:
        """Whether it is a relay of ours, and runs as far as anybody knows."""
        return self.is_connected(relay) or relay.id in self._attendance

    def _take(self, change: Change) -> set[int]:
        """Act on a relay's new record; the regions that it touches."""
        before, after = self._known.pop(change.id, None), change.record
        if isinstance(after, Relay):
            self._known[change.id] = after
            if before is not None and before.region != after.region:
                self.sessions.end(change.id, REKEYED)
            self._seat(after)
        else:
            self._attendance.remove(change.id)
            self.homes.gone(change.id)
            self.sessions.end(change.id, REMOVED)
        if before is not None and before.key is not None and before.region != getattr(after, "region", None):
            self._left.add(before.region)
        return {relay.region for relay in (before, after) if isinstance(relay, Relay)}

    def _seat(self, relay: Relay) -> None:
        """Let it take nodes, if it runs."""
        if self._runs(relay):
            self.homes.runs(relay, connected=self.is_connected(relay))

    def _changed(self, regions: Container[int]) -> None:
        """The records of these regions' relays, or which of them run, have changed."""
        relays = self._mesh.list(Relay)
        self.homes.mapped(relays)
        self.sessions.introduce(relay for relay in relays if relay.region in regions)
        for changed in self._watchers:
            changed()

    def _arrived(self, relay: int) -> None:
        latest = max((entry.at for entry in self._elsewhere.get(relay, {}).values()), default=0)
        self._began[relay] = min(max(self._clock.wall(), latest + 1, self._began.get(relay, 0) + 1), LATEST)
        self._attendance.arrived(relay)
        self.changed(relay)
        self._moved(relay)

    def _departed(self, relay: int) -> None:
        self.changed(relay)
        if self._open and relay in self._known and relay not in self._elsewhere:
            self._attendance.lost(relay)
            self._moved(relay)

    def _loaded(self, relay: int, clients: int) -> None:
        self.homes.load(relay, clients)
        self.changed(relay)

    def _moved(self, relay: int) -> None:
        self._seat(self._known[relay])
        self._changed({self._known[relay].region})

    def _gone(self, relay: int) -> None:
        self.homes.gone(relay)
        if relay in self._known:
            self._changed({self._known[relay].region})


def _nobody(_relay: int) -> None:
    """Nobody wants to know."""
