"""What happens on a control stream: hello, proof, login or enrolment, welcome, the map, then messages both ways.

Hello -> the proof is checked; a node known by its machine key, unchanged and not expired, is in at once
      -> anything else is decided by `Enrolment` in one durable transaction
      -> Welcome, and the stream becomes a viewer of the map; or Refused, and it is closed
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from ghostwire.errors import GhostwireError
from ghostwire.model import Cursor, Node
from ghostwire.server.cluster.ahead import Ahead
from ghostwire.server.gate import CLOSING, UNSTORED, Gate
from ghostwire.server.maps import Maps
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.nodes.enrolment import Claim, Enrolment
from ghostwire.server.nodes.presence import Presence
from ghostwire.server.session import Session
from ghostwire.server.state import expired
from ghostwire.server.views.fanout import Fanout
from ghostwire.wire import messages
from ghostwire.wire.messages import (
    Hello,
    HomeRelay,
    Interest,
    Lacking,
    Leave,
    PeerEndpoints,
    Refresh,
    Refused,
    Report,
    Welcome,
)

if TYPE_CHECKING:
    from ghostwire.capabilities.control import NodeStream

REMOVED = Refused(code="removed", message="this node was removed from the mesh")
EXPIRED = Refused(code="key-expired", message="this node's key has expired; bring a new join token")
REPLACED = Refused(
    code="replaced", message="this node opened another control session; was its state copied to another machine?"
)

BACK = 500
"""Nodes that are told to come again in one and the same second."""


class Sessions:
    """One session a node. ``remove(id)`` takes a node out of the mesh (its own wish, by Leave)."""

    def __init__(
        self,
        mesh: LiveMesh,
        maps: Maps,
        streams: Fanout,
        enrolment: Enrolment,
        gate: Gate,
        remove: Callable[[int], Awaitable[object]],
        *,
        domain: str,
        log: logging.Logger,
    ) -> None:
        self._mesh, self._maps, self._streams, self._enrolment = mesh, maps, streams, enrolment
        self._gate, self._remove, self._domain, self._log = gate, remove, domain, log
        self.presence = Presence(self._introduce, maps.server)
        self.presence.replaced = partial(self.end, reason=REPLACED)
        self.ahead = Ahead(lambda: mesh.state.revision, streams.add, mesh.catch_up)
        self._sessions: dict[int, Session[Cursor]] = {}
        self.arrived: Callable[[int], None] = _nobody
        self.missed: Callable[[int], None] = _nobody
        self.routed: Callable[[int, Report], None] = _unheard
        self.homed: Callable[[int, int | None, int | None], int | None] = _nowhere
        """Takes a node's home region, and the relay at which it is; the region where that is known."""

    def accept(self, stream: NodeStream, hello: Hello) -> None:
        """Take a stream whose first message is this hello."""
        if not self._gate.passes(stream, hello.node_key):
            return
        claim = Claim.of(stream.machine_key, hello, self._mesh.now())
        node = self._mesh.state.node_of_machine(claim.machine_key)
        if node is not None and self._gate.too_often(stream, "node", node.id):
            return
        if node is not None and claim.matches(node) and not expired(node, claim.now):
            self._open(stream, hello, node)
        else:
            self._enrol(stream, hello, claim)

    def end(self, node: int, reason: Refused) -> None:
        """Close a node's session, telling it why; harmless where it has none."""
        session = self._sessions.get(node)
        if session is not None:
            session.end(reason)

    def tell(self, node: int, message: PeerEndpoints | HomeRelay) -> None:
        """Send to a node's session, if it has one."""
        session = self._sessions.get(node)
        if session is not None:
            session.tell(message)

    def online(self, node: int) -> bool:
        """Whether the node has a session, at any server."""
        return self.presence.lease(node).online

    def close(self, reason: Refused = CLOSING) -> None:
        """End all sessions; who is told to come again is, a few at a time."""
        for number, session in enumerate(list(self._sessions.values())):
            session.end(msgspec.structs.replace(reason, retry_after=reason.retry_after + number // BACK))

    def _enrol(self, stream: NodeStream, hello: Hello, claim: Claim) -> None:
        def enrolled(node: Node) -> None:
            self._gate.registrations += 1
            self._log.info("node %d (%s) enrolled from %s", node.id, node.name, stream.client)
            self._open(stream, hello, node)

        work = partial(self._enrolment.enrol, claim=claim)
        self._gate.enrol(stream, work, enrolled, secret=claim.credentials is not None)

    def _open(self, stream: NodeStream, hello: Hello, node: Node) -> None:
        current = self._mesh.state.get(Node, node.id)
        if stream.closed:
            return
        reason = _outdated(current, hello, self._mesh.now())
        if reason is not None:
            self._gate.refuse(stream, reason.code, reason.message)
            return
        assert current is not None
        older = self._sessions.get(current.id)
        self._gate.begins("node", current.id)
        session = Session(current.id, stream, _own_cursor(hello, current))
        self._sessions[current.id] = session
        if older is not None:
            older.end(REPLACED)
        self.ahead.add(session)  # in time for its map to leave in one write with the welcome
        self._welcome(session, current)
        self.presence.arrive(current.id, self._mesh.now())
        self.arrived(current.id)
        stream.on_closed(lambda: self._closed(session))
        stream.on_drained(lambda: self._drained(session))
        stream.on_message(lambda message: self._take(session, message))

    def _welcome(self, session: Session[Cursor], node: Node) -> None:
        welcome = Welcome(
            protocol=session.protocol,
            node=self._maps.seen(node),
            domain=self._domain,
            expires=node.expires,
            server_time=self._mesh.now(),
        )
        session.push(messages.encode(welcome))

    def _take(self, session: Session[Cursor], message: Any) -> None:
        if isinstance(message, Report):
            self._report(session.id, message)
        elif isinstance(message, Interest):
            if message.node != session.id and (not message.wanted or self._maps.sees(session.id, message.node)):
                self.presence.interest(session.id, message.node, message.wanted)
        elif isinstance(message, Lacking | Refresh):
            self._streams.asked(session, message)
        elif isinstance(message, Leave):
            self._leave(session, message)

    def _report(self, node: int, report: Report) -> None:
        if not self.presence.report(node, report, self._mesh.now()):
            return
        again = self.presence.lease(node).gap
        self.routed(node, report)
        self._maps.move(node, self.homed(node, report.home, report.relay), again=again)

    def _introduce(self, node: int, message: PeerEndpoints) -> None:
        """Where a peer is, is for those alone who see it, though they may have wanted it when they still did."""
        if node in self._sessions and self._maps.sees(node, message.node):
            self.tell(node, message)

    def _leave(self, session: Session[Cursor], message: Leave) -> None:
        if message.logout:
            self._gate.spawn(self._log_out(session))
        else:
            session.stream.close("the node left")

    async def _log_out(self, session: Session[Cursor]) -> None:
        """The node forgets itself when it hears that it is removed, so it hears that once it is stored."""
        try:
            await self._remove(session.id)
        except GhostwireError as error:
            self._log.error("node %d wants to leave, and cannot: %s", session.id, error)
            session.end(UNSTORED)
        else:
            session.end(REMOVED)

    def _closed(self, session: Session[Cursor]) -> None:
        self.ahead.remove(session)
        self._streams.remove(session)
        if self._sessions.get(session.id) is session:
            del self._sessions[session.id]
            self.presence.depart(session.id, self._mesh.now())

    def _drained(self, session: Session[Cursor]) -> None:
        if session.missed:
            session.missed = False
            self.presence.refresh(session.id)
            self.missed(session.id)
        self._streams.drained(session)


def _outdated(current: Node | None, hello: Hello, now: int) -> Refused | None:
    """Why a node that was let in by its record as it was is not let in by its record as it is."""
    if current is None:
        return REMOVED
    if current.node_key != hello.node_key:
        return REPLACED
    return EXPIRED if expired(current, now) else None


def _own_cursor(hello: Hello, node: Node) -> Cursor | None:
    """Where the node stands; a machine that is another node now than when it was told last has nothing that counts."""
    return hello.cursor if hello.cursor is not None and hello.cursor.newest >= node.id else None


def _nobody(_node: int) -> None:
    """Nobody wants to know."""


def _unheard(_node: int, _report: Report) -> None:
    """Nobody wants to know of routes."""


def _nowhere(_node: int, _home: int | None, _relay: int | None) -> int | None:
    """No region is known."""
    return None
