"""A node as a member of its mesh: says who it is, takes Welcome, map and refusals, reports its endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from ghostwire.engine import SECOND
from ghostwire.errors import Conflict, GhostwireError, Unavailable
from ghostwire.errors import Refused as RefusedError
from ghostwire.keys import DiscoKey, NodeKey
from ghostwire.model import MapChange
from ghostwire.node.director import Endpoints
from ghostwire.node.identity import Identity, Membership
from ghostwire.node.knowledge import Knowledge
from ghostwire.node.parts import Parts
from ghostwire.node.presence import Presence, Whereabouts
from ghostwire.node.upkeep import Upkeep
from ghostwire.uplink.control import Channel, Control, out_of_turn
from ghostwire.wire.jointoken import JoinToken
from ghostwire.wire.messages import (
    KEY_EXPIRED,
    LOGIN_REQUIRED,
    PASSING,
    PROTOCOL,
    REMOVED,
    Credentials,
    Hello,
    HomeRelay,
    Interest,
    Lacking,
    Leave,
    PeerEndpoints,
    Refresh,
    Report,
    Welcome,
)

LOGOUT_TIMEOUT = 10.0
"""Seconds for the server to confirm a logout."""
LOGOUT_RETRY = 3.0
"""Seconds without its word after which the session is taken for dead and a new one tried."""


class MemberEvents(Protocol):
    """What the member tells the node."""

    def session_began(self) -> None:
        """A session began."""

    def map_changed(self, change: MapChange) -> None:
        """The network map changed so."""

    def peer_endpoints(self, peer: int, endpoints: Endpoints) -> None:
        """The server says where a peer can be reached now."""

    def home_relay(self, message: HomeRelay) -> None:
        """The server says which relay of its home region this node is to be at."""

    def trouble(self, error: GhostwireError, *, final: bool) -> None:
        """The server is not reached or said no; ``final`` where waiting does not help."""


class Member:
    """Membership and control session of one node. ``whereabouts`` gives what to report now."""

    def __init__(
        self,
        parts: Parts,
        identity: Identity,
        knowledge: Knowledge,
        events: MemberEvents,
        whereabouts: Callable[[], Whereabouts],
    ) -> None:
        self._parts, self._identity, self._knowledge = parts, identity, knowledge
        self._events = events
        self.upkeep = Upkeep(knowledge.network, self._send, parts.clock, parts.entropy, parts.log)
        self._presence = Presence(identity.next_session(parts.clock), whereabouts, self._send)
        self._token: JoinToken | None = None
        self._hostname = ""
        self._unknown = False
        self._leaving: asyncio.Future[None] | None = None
        self._control: Control | None = None
        self.last_error = ""
        self.last_connected: int | None = None

    @property
    def connected(self) -> bool:
        """Whether a session with the server is open."""
        return self._control is not None and self._control.connected

    @property
    def joining(self) -> bool:
        """Whether a join token is being tried."""
        return self._token is not None

    @property
    def url(self) -> str:
        """The server's URL; empty without a membership."""
        server = self._token or self._identity.membership
        return server.url if server is not None else ""

    def open(self, token: JoinToken | None = None, hostname: str | None = None) -> None:
        """Be in contact with the server from now on. Conflict where the token is for another server than the
        membership, a Refused ``login-required`` where there is neither."""
        membership = self._identity.membership
        if token is None and membership is None:
            raise RefusedError("this node belongs to no mesh yet; give a join token", LOGIN_REQUIRED)
        if token is not None and membership is not None and membership.control_key != token.control_key:
            raise Conflict(f"this node belongs to the mesh of {membership.url}; first run: gwctl down --logout")
        if hostname is not None or not self._hostname:
            self._hostname = hostname or (membership.hostname if membership is not None else "")
        if token is not None and not (self.connected and self._accepted()):
            self._token = token
            if membership is not None and membership.expired:
                self._identity.renew_node_key()
        self._start()

    def give_up(self) -> None:
        """Try the join token no longer."""
        self._token = None

    def hurry(self) -> None:
        """This machine's links changed: begin a new session at once."""
        if self._control is not None:
            self._control.hurry()

    def report(self, *, always: bool = False) -> None:
        """Tell the server where this node can be reached, if that is news or a new session wants to know."""
        if self.connected:
            self._presence.report(always=always)

    def declare(self, interest: Interest) -> None:
        """Tell the server of an interest; lost without a session, whose successor declares again."""
        self._send(interest)

    async def close(self) -> None:
        """Say goodbye and end the session; harmless when called twice."""
        self.upkeep.stop()
        control, self._control = self._control, None
        if control is not None:
            await control.close(Leave())

    async def log_out(self) -> None:
        """Have the server take this node out of the mesh; Unavailable or Refused where it did not confirm that."""
        leaving = self._leaving = asyncio.get_running_loop().create_future()
        try:
            self.open()
            self._leave()
            async with asyncio.timeout(LOGOUT_TIMEOUT):
                while not (await asyncio.wait([leaving], timeout=LOGOUT_RETRY))[0]:
                    self.hurry()
            leaving.result()
        except TimeoutError:
            raise Unavailable(self.last_error or f"no answer within {LOGOUT_TIMEOUT:.0f} s") from None
        finally:
            self._leaving = None
            await self.close()

    def forget(self) -> None:
        """Give the membership up: keys, server and map."""
        self._token, self._unknown = None, False
        self._identity.forget()
        self._knowledge.forget()

    # What the control session asks and tells

    def hello(self, channel: Channel) -> Hello:
        """Credentials go along only where the server does not know this node, or no longer accepts its key."""
        identity, host = self._identity, self._parts.host
        return Hello(
            protocol=PROTOCOL,
            node_key=identity.node_key.public(NodeKey),
            disco_key=identity.disco_key.public(DiscoKey),
            proof=channel.prove(identity.node_key),
            host=msgspec.structs.replace(host, hostname=self._hostname) if self._hostname else host,
            cursor=self._knowledge.network.cursor,
            credentials=self._credentials(),
        )

    def welcomed(self, welcome: Welcome) -> None:
        """This node is a member."""
        self._knowledge.welcomed(welcome)
        server, held = self._server(), self._identity.membership
        up = held.up if held is not None else True
        self._identity.remember(
            Membership(url=server.url, control_key=server.control_key, hostname=self._hostname, up=up)
        )
        self._token, self._unknown, self.last_error = None, False, ""
        self.last_connected = self._parts.clock.wall() // SECOND
        self._presence.forget()
        self.upkeep.began(welcome.protocol)
        self._leave()
        self._events.session_began()

    def received(self, message: Any) -> None:
        """What the server tells while the session lasts."""
        if isinstance(message, MapChange):
            self._map_changed(message)
        elif isinstance(message, PeerEndpoints):
            self._peer_endpoints(message)
        elif isinstance(message, HomeRelay):
            self._events.home_relay(message)
        else:
            raise out_of_turn(message)

    def _map_changed(self, message: MapChange) -> None:
        change = self.upkeep.examine(message)
        if change is not None:
            self._events.map_changed(self._knowledge.changed(change))
            self.upkeep.followed()

    def _peer_endpoints(self, message: PeerEndpoints) -> None:
        """Where the server knows none, the last known ones are better than nothing."""
        endpoints = self._knowledge.kept(message.node, message.endpoints)
        if endpoints:
            self._events.peer_endpoints(message.node, endpoints)
            self._knowledge.moved()

    def refused(self, error: RefusedError) -> None:
        """The server said no: what passes is waited for, what a join token heals is tried with it, the rest is told."""
        if error.code in PASSING:
            self._trouble(error, final=False)
        elif self._leaving is not None:
            self._left(self._leaving, error)
        elif self._heals(error.code):
            self.hurry()
        else:
            self._token = None
            self._settle_for(error)

    def failed(self, error: GhostwireError) -> None:
        """The server is not reached."""
        final = self.joining and not isinstance(error, Unavailable)
        if final:
            self._token = None
        self._trouble(error, final=final)

    def _leave(self) -> None:
        if self._leaving is not None:
            self._send(Leave(logout=True))

    @staticmethod
    def _left(leaving: asyncio.Future[None], answer: RefusedError) -> None:
        """A server that does not know this node has removed it before; its word was lost then."""
        if leaving.done():
            return
        if answer.code in (REMOVED, LOGIN_REQUIRED):
            leaving.set_result(None)
        else:
            leaving.set_exception(answer)

    def _heals(self, code: str) -> bool:
        """Note what the server no longer knows or accepts; whether credentials, not sent so far, may change that."""
        unsent = self._token is not None and self._credentials() is None
        membership = self._identity.membership
        if code == LOGIN_REQUIRED:
            self._unknown = True
        elif code == KEY_EXPIRED and membership is not None:
            self._identity.remember(msgspec.structs.replace(membership, expired=True))
            if unsent:
                self._identity.renew_node_key()
        else:
            return False
        return unsent

    def _settle_for(self, error: RefusedError) -> None:
        if error.code == REMOVED:
            self.forget()
        if error.code == LOGIN_REQUIRED and self._identity.membership is not None:
            error = RefusedError(
                "the server does not know this node (an older backup?): join again with gwctl up --token-file FILE; "
                "until then the node goes on with the peers that it knows",
                LOGIN_REQUIRED,
            )
        self._trouble(error, final=True)

    def _trouble(self, error: GhostwireError, *, final: bool) -> None:
        self.last_error = str(error)
        self._events.trouble(error, final=final)

    def _credentials(self) -> Credentials | None:
        token = self._token
        return None if token is None or self._accepted() else Credentials(token.scheme, token.secret)

    def _accepted(self) -> bool:
        """Whether, as far as is known, the server accepts this node without credentials."""
        membership = self._identity.membership
        return membership is not None and not membership.expired and not self._unknown

    def _send(self, message: Report | Interest | Lacking | Refresh | Leave) -> bool:
        return self._control is not None and self._control.send(message)

    def _start(self) -> None:
        if self._control is not None:
            if not self.connected:
                self._control.hurry()
            return
        parts = self._parts
        self.upkeep.start()
        self._control = Control(self._connect, self, Welcome, parts.clock, parts.entropy)
        self._control.start()

    def _connect(self) -> Awaitable[Channel]:
        server, parts = self._server(), self._parts
        return parts.connect(server.url, self._identity.machine_key, server.control_key, parts.sockets, parts.entropy)

    def _server(self) -> JoinToken | Membership:
        server = self._token or self._identity.membership
        if server is None:
            raise RefusedError("this node belongs to no mesh; give a join token", LOGIN_REQUIRED)
        return server
