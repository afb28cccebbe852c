"""A relay as a member of its mesh: says who it is, takes welcome, keys, siblings and refusals, reports its load."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any, Protocol

import msgspec

from ghostwire import __version__
from ghostwire.capabilities.contexts import Sockets
from ghostwire.capabilities.relaying import Siblings
from ghostwire.engine import Clock, Entropy
from ghostwire.errors import Conflict, GhostwireError, Unavailable
from ghostwire.errors import Refused as RefusedError
from ghostwire.keys import ControlKey, NodeKey, RelayKey
from ghostwire.model import MapRelay
from ghostwire.relay.identity import Identity, Membership
from ghostwire.relay.measuring import Measuring
from ghostwire.relay.relaying import LiveRelaying
from ghostwire.uplink.cache import Cache
from ghostwire.uplink.control import Channel, Connect, Control, out_of_turn
from ghostwire.wire.jointoken import JoinToken
from ghostwire.wire.messages import (
    LOGIN_REQUIRED,
    PASSING,
    PROTOCOL,
    REMOVED,
    AdmittedKeys,
    Credentials,
    RelayHello,
    RelaySiblings,
    RelayWelcome,
)

CACHE = "admitted"
"""The file of what the server told last."""
GONE = "the server has removed this relay, which serves no longer; to have it back, enrol it with a new token"


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the server told last; valid for this server only."""

    control_key: ControlKey
    relay: MapRelay
    mesh_key: bytes
    siblings: tuple[MapRelay, ...] = ()
    keys: tuple[NodeKey, ...] = ()

    def __repr__(self) -> str:
        return f"Told({self.relay!r}, mesh key hidden)"


class MemberEvents(Protocol):
    """What the member asks of the program and tells it."""

    def certificate(self) -> str:
        """The certificate's fingerprint, as `RelayHello` says it."""

    def welcomed(self, relay: MapRelay) -> None:
        """The server let this relay in, and knows it as ``relay``."""

    def stop(self, error: GhostwireError) -> None:
        """The relay is to stop: the server wants it no more, or never let it in."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What a member is made of. ``local`` are siblings the operator named; its mesh key goes before the server's."""

    identity: Identity
    relaying: LiveRelaying
    sockets: Sockets
    clock: Clock
    entropy: Entropy
    connect: Connect
    tls: bool
    log: logging.Logger
    local: Siblings = Siblings()


class Member:
    """Membership and control session of one relay. What the server tells goes to ``parts.relaying``."""

    def __init__(self, parts: Parts, events: MemberEvents, token: JoinToken | None = None) -> None:
        self._parts, self._events = parts, events
        self._identity, self._relaying, self._log = parts.identity, parts.relaying, parts.log
        self._token = self._usable(token)
        self._unknown = self._identity.membership is None
        self._cache = Cache(self._identity.folder / CACHE, Told, self._told, self._log, "the admitted keys")
        self.relay: MapRelay | None = None
        self._mesh_key, self._siblings = b"", tuple[MapRelay, ...]()
        self._said = ""
        self._control = Control(self._connect, self, RelayWelcome, parts.clock, parts.entropy)
        self._measuring = Measuring(self._relaying.load, parts.clock, self._control.send)

    @property
    def connected(self) -> bool:
        """Whether a session with the server is open."""
        return self._control.connected

    def start(self) -> None:
        """Serve what the server told last, and be in contact with it from now on."""
        self._resume()
        self._relaying.on_announced(self.hurry)
        self._control.start()

    def hurry(self) -> None:
        """Begin a new session at once: there is something new to say in the hello."""
        self._control.hurry()

    async def close(self) -> None:
        """End the session; harmless when called twice."""
        self._measuring.close()
        await self._control.close()
        self._cache.flush()

    # What the control session asks and tells

    def hello(self, channel: Channel) -> RelayHello:
        """Credentials go along only where the server does not know this relay."""
        key = self._identity.relay_key
        return RelayHello(
            protocol=PROTOCOL,
            key=key.public(RelayKey),
            proof=channel.prove(key),
            version=__version__,
            tls=self._parts.tls,
            certificate=self._events.certificate(),
            stun_port=self._relaying.stun_port,
            credentials=self._credentials(),
        )

    def welcomed(self, welcome: RelayWelcome) -> None:
        """This relay is the mesh's."""
        server = self._server()
        self._identity.remember(Membership(url=server.url, control_key=server.control_key))
        self._token, self._unknown, self._said = None, False, ""
        self._log.info("connected to %s", server.url)
        self.relay, self._mesh_key = welcome.relay, welcome.mesh_key
        self._mesh()
        self._measuring.begin()
        self._events.welcomed(welcome.relay)

    def received(self, message: Any) -> None:
        """What the server tells while the session lasts."""
        if isinstance(message, AdmittedKeys):
            self._relaying.admit(message)
            self._cache.changed()
        elif isinstance(message, RelaySiblings):
            self._siblings = message.relays
            self._mesh()
        else:
            raise out_of_turn(message)

    def refused(self, error: RefusedError) -> None:
        """The server said no: what passes is waited for, what the join token heals is tried with it, the rest is told.

        A relay that it does not know any more, from an older backup say, goes on with the keys that it was told.
        """
        unsent = self._token is not None and self._credentials() is None
        if error.code == LOGIN_REQUIRED and unsent:
            self._unknown = True
            self.hurry()
        elif error.code == REMOVED:
            self._events.stop(RefusedError(GONE, REMOVED))
            self._forget()
        elif self._identity.membership is None and error.code not in PASSING:
            self._events.stop(error)
        elif error.code == LOGIN_REQUIRED:
            self._say("the server does not know this relay: enrol it again with --token-file; going on meanwhile")
        else:
            self._say(f"the server says: {error}; trying again")

    def failed(self, error: GhostwireError) -> None:
        """The server is not reached."""
        if self._identity.membership is None and not isinstance(error, Unavailable):
            self._events.stop(error)
        else:
            self._say(f"{error}; trying again")

    def _say(self, trouble: str) -> None:
        """Log it, unless it is what was said last: a server may be away for days."""
        if trouble != self._said:
            self._said = trouble
            self._log.warning("%s", trouble)

    def _usable(self, token: JoinToken | None) -> JoinToken | None:
        held = self._identity.membership
        if token is None and held is None:
            raise RefusedError(
                "this relay belongs to no mesh yet: give a join token (on the server, gwctl relays create makes one) "
                "with --token-file FILE, or serve whoever comes with --open",
                LOGIN_REQUIRED,
            )
        if token is not None and held is not None and token.control_key != held.control_key:
            raise Conflict(
                f"this relay belongs to the mesh of {held.url}, and the token is another's; "
                f"to take the relay there, remove {self._identity.folder} first"
            )
        return token

    def _credentials(self) -> Credentials | None:
        token = self._token
        return Credentials(token.scheme, token.secret) if token is not None and self._unknown else None

    def _server(self) -> JoinToken | Membership:
        server = self._token or self._identity.membership
        if server is None:
            raise RefusedError("this relay belongs to no mesh any more", REMOVED)
        return server

    def _connect(self) -> Awaitable[Channel]:
        server, parts = self._server(), self._parts
        return parts.connect(server.url, self._identity.machine_key, server.control_key, parts.sockets, parts.entropy)

    # What was told

    def _resume(self) -> None:
        """Go by what the server told before the restart."""
        told, held = self._cache.load(), self._identity.membership
        if told is None or held is None or told.control_key != held.control_key:
            return
        self.relay, self._mesh_key, self._siblings = told.relay, told.mesh_key, told.siblings
        self._relaying.admit(AdmittedKeys(full=True, keys=told.keys))
        self._mesh()

    def _told(self) -> Told | None:
        held = self._identity.membership
        if held is None or self.relay is None:
            return None
        keys = tuple(self._relaying.keys)
        return Told(
            control_key=held.control_key,
            relay=self.relay,
            mesh_key=self._mesh_key,
            siblings=self._siblings,
            keys=keys,
        )

    def _mesh(self) -> None:
        local = self._parts.local
        self._relaying.mesh_with(Siblings((*self._siblings, *local.relays), local.mesh_key or self._mesh_key))
        self._cache.changed()

    def _forget(self) -> None:
        """Belong to no server any more, and serve nobody."""
        self._relaying.admit(AdmittedKeys(full=True))
        self._relaying.mesh_with(Siblings())
        self._cache.drop()
        self._identity.forget()
