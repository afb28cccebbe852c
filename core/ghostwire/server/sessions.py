"""What happens on a control stream: hello, proof, login or enrolment, welcome, the map, then messages both ways.

Hello -> the proof is checked; a node known by its machine key, unchanged and not expired, is in at once
      -> anything else is decided by `Enrolment` in one durable transaction
      -> Welcome, and the stream becomes a viewer of the map; or Refused, and it is closed
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ghostwire.engine import Clock
from ghostwire.errors import AuthenticationFailed, GhostwireError
from ghostwire.errors import Refused as RefusedError
from ghostwire.model import Node
from ghostwire.server.enrolment import Claim, Enrolment
from ghostwire.server.limits import Buckets, Complaints
from ghostwire.server.maps import Maps, Position
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.presence import Presence
from ghostwire.server.state import expired
from ghostwire.server.streams import Streams
from ghostwire.wire import messages
from ghostwire.wire.messages import Interest, Leave, PeerEndpoints, Refused, Report, Welcome

if TYPE_CHECKING:
    from ghostwire.server.channel import ControlStream

MAX_ENROLMENTS = 512
"""Claims waiting for a transaction; further ones are told to come again."""
BUSY_RETRY = 5
FAILURES = (10, 6.0)
"""Wrong credentials from one address: so many at once, then one every so many seconds."""
SESSIONS = (30, 2.0)
"""Sessions of one node: so many at once, then one every so many seconds; each may cost a full map."""

REMOVED = Refused(code="removed", message="this node was removed from the mesh")
EXPIRED = Refused(code="key-expired", message="this node's key has expired; bring a new join token")
REPLACED = Refused(
    code="replaced", message="this node opened another control session; was its state copied to another machine?"
)
UNSTORED = Refused(code="busy", message="the server cannot store this now; try again later", retry_after=BUSY_RETRY)
CLOSING = Refused(code="busy", message="the server is shutting down", retry_after=1)


class Session:
    """A welcomed stream, and how far its map is (see `streams.Viewer`)."""

    __slots__ = ("greeted", "missed", "node", "position", "stream")

    def __init__(self, node: int, stream: ControlStream, position: Position | None) -> None:
        self.node, self.stream, self.position = node, stream, position
        self.greeted = False
        self.missed = False

    @property
    def pending(self) -> int:
        """Bytes not yet taken by the transport."""
        return self.stream.pending

    def push(self, frame: bytes) -> bool:
        """Send an encoded frame; False where it was dropped."""
        return self.stream.send(frame)

    def fail(self) -> None:
        """Hang up."""
        self.stream.close("internal error")

    def tell(self, message: PeerEndpoints) -> None:
        """Send a peer's endpoints, or remember that it was too slow for them."""
        if not self.stream.send(messages.encode(message)):
            self.missed = True

    def end(self, reason: Refused) -> None:
        """Say why, and close."""
        self.stream.send(messages.encode(reason))
        self.stream.close(reason.message)


class Sessions:
    """One session a node. ``remove(id)`` takes a node out of the mesh (its own wish, by Leave)."""

    def __init__(
        self,
        mesh: LiveMesh,
        maps: Maps,
        streams: Streams,
        enrolment: Enrolment,
        remove: Callable[[int], Awaitable[object]],
        *,
        domain: str,
        clock: Clock,
        log: logging.Logger,
    ) -> None:
        self._mesh, self._maps, self._streams, self._enrolment = mesh, maps, streams, enrolment
        self._remove, self._domain, self._log = remove, domain, log
        self.presence = Presence(self._tell)
        self.complaints = Complaints(log, clock)
        self._failures = Buckets(clock, burst=FAILURES[0], interval=FAILURES[1])
        self._begun = Buckets(clock, burst=SESSIONS[0], interval=SESSIONS[1], addresses=65536)
        self._sessions: dict[int, Session] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._enrolling = 0
        self.arrived: Callable[[int], None] = _nobody
        self.departed: Callable[[int], None] = _nobody
        self.registrations = 0

    def accept(self, stream: ControlStream) -> None:
        """Take a stream whose first message, its hello, is there."""
        try:
            claim = self._claim(stream)
        except RefusedError as error:
            self._refuse(stream, error.code, str(error))
            return
        node = self._mesh.state.node_of_machine(claim.machine_key)
        if node is not None and (wait := self._begun.wait(str(node.id))):
            self._refuse(stream, "busy", "this node begins too many sessions; try again later", wait)
        elif node is not None and claim.matches(node) and not expired(node, claim.now):
            self._open(stream, node)
        elif self._enrolling >= MAX_ENROLMENTS:
            self._refuse(stream, "busy", "too many machines are joining; try again", BUSY_RETRY)
        elif claim.credentials is not None and (wait := self._failures.wait(stream.client)):
            self._refuse(stream, "busy", "too many wrong credentials from your address; try again later", wait)
        else:
            self._spawn(self._enrol(stream, claim))

    def end(self, node: int, reason: Refused) -> None:
        """Close a node's session, telling it why; harmless where it has none."""
        session = self._sessions.get(node)
        if session is not None:
            session.end(reason)

    def online(self, node: int) -> bool:
        """Whether the node has a session."""
        return node in self._sessions

    async def close(self) -> None:
        """End all sessions and what they began."""
        for session in list(self._sessions.values()):
            session.end(CLOSING)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _claim(self, stream: ControlStream) -> Claim:
        hello = stream.hello
        if not messages.OLDEST_PROTOCOL <= hello.protocol <= messages.PROTOCOL:
            served = f"{messages.OLDEST_PROTOCOL} to {messages.PROTOCOL}"
            raise RefusedError(
                f"protocol {hello.protocol} is not served (only {served}); upgrade the older", "protocol"
            )
        if not stream.verify(hello.node_key, hello.proof):
            raise AuthenticationFailed("the node key's proof is wrong; its key file may be damaged")
        return Claim.of(stream.machine_key, hello, self._mesh.now())

    async def _enrol(self, stream: ControlStream, claim: Claim) -> None:
        self._enrolling += 1
        try:
            node = await self._mesh.write(lambda transaction: self._enrolment.enrol(transaction, claim))
        except RefusedError as error:
            if claim.credentials is not None:
                self._failures.take(stream.client)
            self._refuse(stream, error.code, str(error))
        except GhostwireError as error:
            self.complaints.add("cannot enrol a machine", str(error))
            self._refuse(stream, UNSTORED.code, UNSTORED.message, BUSY_RETRY)
        except Exception:
            self._refuse(stream, UNSTORED.code, UNSTORED.message, BUSY_RETRY)
            raise
        else:
            self.registrations += 1
            self._log.info("node %d (%s) enrolled from %s", node.id, node.name, stream.client)
            self._open(stream, node)
        finally:
            self._enrolling -= 1

    def _open(self, stream: ControlStream, node: Node) -> None:
        current = self._mesh.state.get(Node, node.id)
        if stream.closed:
            return
        if current is None or current.node_key != stream.hello.node_key:
            reason = REMOVED if current is None else REPLACED
            self._refuse(stream, reason.code, reason.message)
            return
        older = self._sessions.get(current.id)
        self._begun.take(str(current.id))
        session = Session(current.id, stream, self._maps.resume(stream.hello.cursor))
        self._sessions[current.id] = session
        if older is not None:
            older.end(REPLACED)
        self._welcome(session, current)
        self.presence.arrive(current.id, self._mesh.now())
        self.arrived(current.id)
        stream.on_closed(lambda: self._closed(session))
        stream.on_drained(lambda: self._drained(session))
        stream.on_message(lambda message: self._take(session, message))
        self._streams.add(session)

    def _welcome(self, session: Session, node: Node) -> None:
        welcome = Welcome(
            protocol=messages.PROTOCOL,
            node=self._maps.seen(node),
            domain=self._domain,
            expires=node.expires,
            server_time=self._mesh.now(),
        )
        session.push(messages.encode(welcome))

    def _take(self, session: Session, message: Any) -> None:
        if isinstance(message, Report):
            self._report(session.node, message)
        elif isinstance(message, Interest):
            if message.node != session.node and self._mesh.state.get(Node, message.node) is not None:
                self.presence.interest(session.node, message.node, message.wanted)
        elif isinstance(message, Leave):
            self._leave(session, message)

    def _report(self, node: int, report: Report) -> None:
        if self.presence.report(node, report) and self._maps.move(node, report.home):
            self._streams.changed()

    def _leave(self, session: Session, message: Leave) -> None:
        if message.logout:
            self._spawn(self._log_out(session))
        else:
            session.stream.close("the node left")

    async def _log_out(self, session: Session) -> None:
        """The node forgets itself when it hears that it is removed, so it hears that once it is stored."""
        try:
            await self._remove(session.node)
        except GhostwireError as error:
            self._log.error("node %d wants to leave, and cannot: %s", session.node, error)
            session.end(UNSTORED)
        else:
            session.end(REMOVED)

    def _closed(self, session: Session) -> None:
        self._streams.remove(session)
        if self._sessions.get(session.node) is session:
            del self._sessions[session.node]
            self.presence.depart(session.node, self._mesh.now())
            self.departed(session.node)

    def _drained(self, session: Session) -> None:
        if session.missed:
            session.missed = False
            self.presence.refresh(session.node)
        self._streams.changed()

    def _tell(self, node: int, message: PeerEndpoints) -> None:
        session = self._sessions.get(node)
        if session is not None:
            session.tell(message)

    def _refuse(self, stream: ControlStream, code: str, message: str, retry_after: int = 0) -> None:
        self.complaints.add(f"refused ({code})", f"{stream.client} {stream.machine_key.short}: {message}")
        stream.send(messages.encode(Refused(code=code, message=message, retry_after=retry_after)))
        stream.close(message)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._log.error("a control session failed: internal error", exc_info=task.exception())


def _nobody(_node: int) -> None:
    """Nobody wants to know."""
