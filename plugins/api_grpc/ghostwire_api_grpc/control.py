"""The service Control: a node's control session as calls. What each method means is in control.proto."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from connectrpc.code import Code

from ghostwire import ServerContext
from ghostwire.errors import RemoteProtocolError
from ghostwire.keys import DiscoKey, MachineKey, NodeKey
from ghostwire.model import Cursor, Endpoint
from ghostwire.wire import messages
from ghostwire.wire.messages import (
    Credentials,
    Hello,
    Host,
    Interest,
    Lacking,
    Leave,
    Refresh,
    Refused,
    Report,
    Welcome,
)
from ghostwire_api_grpc import protos
from ghostwire_api_grpc.callers import bearer, caller
from ghostwire_api_grpc.conversion import fill
from ghostwire_api_grpc.frames import ALIVE, Frames, Told
from ghostwire_api_grpc.sessions import LIFETIME, SessionTable
from ghostwire_api_grpc.statuses import Failure, worded
from ghostwire_api_grpc.stream import GrpcStream

MAX_REQUEST = messages.MAX_FRAME_TO_SERVER
WITHIN = ("Watch", "Report", "Interest", "Lacking", "Refresh", "Leave")
"""Methods that belong to a session."""
ENROLMENT = 30.0
"""Seconds that deciding about a machine may take."""
ALIVE_AFTER = 30.0
"""Seconds of silence after which a watcher is told that the server is there."""

Done, ChallengeResponse, EnrolResponse = map(protos.kind, ("Done", "ChallengeResponse", "EnrolResponse"))


class Control:
    """Methods by their names in the .proto, as functions of request and call."""

    def __init__(self, context: ServerContext, sessions: SessionTable) -> None:
        self._context, self._sessions = context, sessions
        self._frames = Frames()
        context.metrics.counter("grpc_frames_total", "Frames converted for gRPC", lambda: self._frames.converted)

    def unary(self) -> dict[str, Callable[[Any, Any], Any]]:
        """Methods that answer once."""
        return {
            "Challenge": self._challenge,
            "Enrol": self._enrol,
            "Report": self._telling(_report),
            "Interest": self._telling(lambda request: Interest(node=request.node, wanted=not request.gone)),
            "Lacking": self._telling(lambda request: Lacking(nodes=tuple(request.nodes[: messages.MAX_LACKING]))),
            "Refresh": self._telling(lambda request: Refresh()),
            "Leave": self._telling(lambda request: Leave(logout=request.logout)),
        }

    async def watch(self, request: Any, context: Any) -> AsyncIterator[Told]:
        """All that the session is told, until it is over."""
        with worded(context):
            stream = self._session(context)
            if not stream.begin():
                raise Failure(
                    Code.FAILED_PRECONDITION, "this session is watched, or was; begin with Challenge", "watched"
                )
        try:
            async for told in self._told(stream):
                yield told
                if told.refused is not None:
                    with worded(context):
                        raise Failure.of_refusal(told.refused)
        finally:
            stream.end()

    async def _told(self, stream: GrpcStream) -> AsyncIterator[Told]:
        """A frame counts as taken once the next is asked for: the transport has it then."""
        while True:
            try:
                frame = await stream.next(ALIVE_AFTER)
            except EOFError:
                return
            if frame is None:
                yield ALIVE
            else:
                yield await self._frames.told(frame)
                stream.taken(frame)

    async def _challenge(self, request: Any, context: Any) -> Any:
        id_, made = self._sessions.challenge(caller().address, request.client_key)
        return ChallengeResponse(id=id_, challenge=made.public, server_proof=made.proof, seconds=LIFETIME)

    async def _enrol(self, request: Any, context: Any) -> Any:
        client = caller().address
        hello, machine_key = _hello(request)
        challenge = self._sessions.answered(client, request.challenge_id, machine_key, request.machine_proof)
        stream = self._sessions.open(hello, client, machine_key, challenge)
        try:
            self._context.attach(stream)
            welcome = await self._welcome(stream)
            stream.welcomed()
            return fill(EnrolResponse(session=self._sessions.token(stream)), welcome)
        except BaseException:
            stream.end()
            raise

    async def _welcome(self, stream: GrpcStream) -> Welcome:
        try:
            frame = await stream.next(ENROLMENT)
        except EOFError as error:
            raise RemoteProtocolError(f"the session ended: {error}") from None
        if frame is None:
            raise Failure.of_refusal(Refused(code="busy", message="enrolling took too long; try again", retry_after=5))
        stream.taken(frame)
        decoded = messages.decode_to_node(frame)
        if isinstance(decoded, Refused):
            raise Failure.of_refusal(decoded)
        assert isinstance(decoded, Welcome)
        return decoded

    def _session(self, context: Any) -> GrpcStream:
        return self._sessions.session(caller().address, bearer(context.request_headers))

    def _telling(self, message: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
        """A method that tells the server something, and is answered that it was heard."""

        async def tell(request: Any, context: Any) -> Any:
            stream = self._session(context)
            try:
                stream.take(message(request))
            except RemoteProtocolError as error:
                raise Failure.of_error(error) from None
            return Done()

        return tell


def _hello(request: Any) -> tuple[Hello, MachineKey]:
    """What the control session would have begun with; RemoteProtocolError where it is malformed."""
    try:
        machine_key = MachineKey(request.machine_key)
        hello = Hello(
            protocol=request.protocol,
            node_key=NodeKey(request.node_key),
            disco_key=DiscoKey(request.disco_key),
            proof=request.node_proof,
            host=Host(request.host.hostname, request.host.os, request.host.version),
            cursor=_cursor(request.cursor) if request.HasField("cursor") else None,
            credentials=_credentials(request.credentials) if request.HasField("credentials") else None,
        )
    except ValueError as error:
        raise RemoteProtocolError(f"a malformed request: {error}") from None
    return messages.decode_to_server(messages.encode(hello)), machine_key


def _cursor(given: Any) -> Cursor:
    return Cursor(given.revision, given.mark, dict(given.clock), given.newest, given.view)


def _credentials(given: Any) -> Credentials:
    return Credentials(given.scheme, given.secret)


def _report(request: Any) -> Report:
    return Report(
        session=request.session,
        sequence=request.sequence,
        endpoints=tuple(Endpoint(each.transport, each.text) for each in request.endpoints),
        home=request.home if request.HasField("home") else None,
        relay=request.relay if request.HasField("relay") else None,
        routes=tuple(request.routes),
        down=tuple(request.down),
    )
