"""The control sessions of relays: proof, enrolment, welcome; then whom to serve, the region's others, and the load."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from ghostwire.capabilities.storage import Transaction
from ghostwire.errors import Refused as RefusedError
from ghostwire.model import MapRelay, Relay
from ghostwire.server.gate import CLOSING, Gate
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.relays import records
from ghostwire.server.relays.enrolment import MAX_VERSION, Claim, RelayEnrolment
from ghostwire.server.relays.mesh_keys import MeshKeys
from ghostwire.server.session import Session
from ghostwire.server.streams import Streams
from ghostwire.wire import messages
from ghostwire.wire.messages import Refused, RelayHello, RelayLoad, RelaySiblings, RelayWelcome

if TYPE_CHECKING:
    from ghostwire.capabilities.control import NodeStream

MOST = 1 << 40
"""What a relay's figures are cut to."""

REMOVED = Refused(code="removed", message="this relay was removed from the mesh")
REPLACED = Refused(
    code="replaced", message="this relay opened another control session; was its state copied to another machine?"
)
REKEYED = Refused(code="busy", message="this relay's region has a new key", retry_after=1)


class RelaySession(Session[int]):
    """A relay's session: what it was told of its region, and what it last said of its load."""

    __slots__ = ("load", "siblings", "version")

    def __init__(self, id: int, stream: NodeStream, version: str) -> None:
        super().__init__(id, stream)
        self.version = version
        self.siblings: tuple[MapRelay, ...] | None = None
        self.load = RelayLoad(clients=0)


class RelaySessions:
    """One session a relay. ``streams`` carry the admitted keys; ``siblings(relay)`` are the others that run."""

    def __init__(
        self,
        mesh: LiveMesh,
        gate: Gate,
        streams: Streams[int],
        mesh_keys: MeshKeys,
        siblings: Callable[[Relay], tuple[MapRelay, ...]],
        log: logging.Logger,
    ) -> None:
        self._mesh, self._gate, self._streams, self._mesh_keys = mesh, gate, streams, mesh_keys
        self._siblings, self._log = siblings, log
        self._enrolment = RelayEnrolment(log)
        self._sessions: dict[int, RelaySession] = {}
        self.arrived: Callable[[int], None] = _nobody
        self.departed: Callable[[int], None] = _nobody
        self.loaded: Callable[[int, int], None] = _nothing

    @property
    def count(self) -> int:
        """How many relays are connected."""
        return len(self._sessions)

    def get(self, relay: int) -> RelaySession | None:
        """The relay's session."""
        return self._sessions.get(relay)

    def accept(self, stream: NodeStream, hello: RelayHello) -> None:
        """Take a stream whose first message is this hello."""
        if not self._gate.passes(stream, hello.key):
            return
        known = self._mesh.state.relay_of_machine(stream.machine_key)
        if known is not None and self._gate.too_often(stream, "relay", known.id):
            return
        try:
            claim = Claim.of(stream.machine_key, hello, self._mesh.now())
        except RefusedError as error:
            self._gate.refuse(stream, error.code, str(error))
            return
        opened = partial(self._open, stream, hello, known is None)
        self._gate.enrol(stream, partial(self._enrol, claim), opened, secret=known is None)

    def end(self, relay: int, reason: Refused) -> None:
        """Close a relay's session, telling it why; harmless where it has none."""
        session = self._sessions.get(relay)
        if session is not None:
            session.end(reason)

    def introduce(self, relays: Iterable[Relay]) -> None:
        """Tell those of these relays that are connected who their siblings are, where that changed."""
        for relay in relays:
            session = self._sessions.get(relay.id)
            if session is not None:
                self._introduce(session, relay)

    def close(self, reason: Refused = CLOSING) -> None:
        """End all sessions."""
        for session in list(self._sessions.values()):
            session.end(reason)

    def _enrol(self, claim: Claim, transaction: Transaction) -> tuple[Relay, bytes]:
        relay = self._enrolment.enrol(transaction, claim)
        return relay, self._mesh_keys.of(transaction, relay.region)

    def _open(self, stream: NodeStream, hello: RelayHello, new: bool, enrolled: tuple[Relay, bytes]) -> None:
        relay, mesh_key = enrolled
        if new:
            self._gate.registrations += 1
            self._log.info("relay %d (%s) enrolled from %s", relay.id, relay.name, stream.client)
        current = self._mesh.state.get(Relay, relay.id)
        if stream.closed:
            return
        reason = _outdated(current, hello, relay.region)
        if reason is not None:
            self._gate.refuse(stream, reason.code, reason.message, reason.retry_after)
            return
        assert current is not None
        self._begin(RelaySession(relay.id, stream, _plain(hello.version)), current, mesh_key)

    def _begin(self, session: RelaySession, relay: Relay, mesh_key: bytes) -> None:
        older = self._sessions.get(relay.id)
        self._gate.begins("relay", relay.id)
        self._sessions[relay.id] = session
        if older is not None:
            older.end(REPLACED)
        welcome = RelayWelcome(protocol=session.protocol, relay=records.seen(relay), mesh_key=mesh_key)
        session.push(messages.encode(welcome))
        session.stream.on_closed(lambda: self._closed(session))
        session.stream.on_drained(lambda: self._drained(session))
        session.stream.on_message(lambda message: self._take(session, message))
        self._streams.add(session)
        self.arrived(relay.id)

    def _introduce(self, session: RelaySession, relay: Relay) -> None:
        siblings = self._siblings(relay)
        if siblings != session.siblings:
            session.siblings = siblings
            session.tell(RelaySiblings(relays=siblings))

    def _take(self, session: RelaySession, message: Any) -> None:
        if isinstance(message, RelayLoad):
            clients, rate = _bounded(message.clients), _bounded(message.bytes_per_second)
            session.load = RelayLoad(clients=clients, bytes_per_second=rate)
            self.loaded(session.id, clients)

    def _drained(self, session: RelaySession) -> None:
        if session.missed:
            session.missed = False
            session.tell(RelaySiblings(relays=session.siblings or ()))
        self._streams.changed()

    def _closed(self, session: RelaySession) -> None:
        self._streams.remove(session)
        if self._sessions.get(session.id) is session:
            del self._sessions[session.id]
            self.departed(session.id)


def _outdated(current: Relay | None, hello: RelayHello, region: int) -> Refused | None:
    """Why a relay that was let in by its record as it was is not let in by its record as it is."""
    if current is None:
        return REMOVED
    if current.key != hello.key:
        return REPLACED
    return REKEYED if current.region != region else None


def _bounded(number: int) -> int:
    return min(max(number, 0), MOST)


def _plain(version: str) -> str:
    return "".join(character for character in version[:MAX_VERSION] if character.isprintable())


def _nobody(_relay: int) -> None:
    """Nobody wants to know."""


def _nothing(_relay: int, _clients: int) -> None:
    """Nobody wants to know."""
