"""From a stream to a client: bounded in number, in time, and in the work that logins make."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import takewhile

from nacl.public import PrivateKey as BoxKey

from ghostwire import Relaying
from ghostwire.engine import Entropy
from ghostwire.errors import AuthenticationFailed, RemoteProtocolError
from ghostwire.frontdoor.admission import Admission
from ghostwire.keys import NodeKey, equal
from ghostwire_derp.bucket import Bucket
from ghostwire_derp.frames import (
    CLIENT_INFO,
    HEADER_BYTES,
    KEY_BYTES,
    MAGIC,
    MAX_CLIENT_INFO,
    SERVER_KEY,
    frame,
    header,
)
from ghostwire_derp.relay.client import Client, Closing, Role
from ghostwire_derp.relay.login import LEAST_LOGIN, ClientInfo, Login
from ghostwire_derp.relay.outlet import Outgoing, Stream

Entered = Callable[[Client], None]


class Entrance:
    """Takes streams; ``entered`` gets each client that has logged in, before anything else it sent is parsed."""

    def __init__(
        self,
        relaying: Relaying,
        entropy: Entropy,
        outgoing: Outgoing,
        rate: tuple[int, int],
        entered: Entered,
        close: Closing,
    ) -> None:
        limits = outgoing.limits
        self._relaying, self._entropy, self._outgoing, self._rate = relaying, entropy, outgoing, rate
        self._entered, self._close = entered, close
        self._places = Admission(limits.total, limits.per_address)
        self._unfinished_places = Admission(limits.unfinished, limits.unfinished_per_address)
        self._silent: dict[Client, int] = {}
        self._waiting: dict[Client, bytes] = {}
        self._work = Bucket(limits.logins, limits.login_burst, 0)

    def accept(self, stream: Stream, address: str) -> Client | None:
        """A new stream: greet it, or None where there is no place for it."""
        if not self._enter(address):
            self._outgoing.counters.refused_full += 1
            return None
        client = Client(self._outgoing, address, self._close)
        client.stream, client.parse = stream, self._parse
        self._silent[client] = self._outgoing.now + self._outgoing.limits.login
        self._outgoing.counters.accepts += 1
        client.put(frame(SERVER_KEY, MAGIC + self._relaying.private_key.public_raw))
        return client

    def _enter(self, address: str) -> bool:
        if not self._places.enter(address):
            return False
        if self._unfinished_places.enter(address, self._make_room):
            return True
        self._places.leave(address)
        return False

    def _make_room(self) -> None:
        """Whoever has kept us waiting for his login longest goes, so that strangers keep nobody out."""
        for client in self._silent:
            self._refuse(client, "displaced")
            break

    def leave(self, client: Client) -> None:
        """The client is closed."""
        self._finish(client)
        self._places.leave(client.address)

    def _finish(self, client: Client) -> None:
        if self._silent.pop(client, None) is not None or self._waiting.pop(client, None) is not None:
            self._unfinished_places.leave(client.address)

    def _parse(self, client: Client, start: int, end: int) -> int:
        """The first frame is a ClientInfo; what follows is kept until that was worked on."""
        if end - start < HEADER_BYTES:
            return start
        arena = self._outgoing.arena
        kind, length = header.unpack_from(arena.data, start)
        after: int = start + HEADER_BYTES + length
        if kind != CLIENT_INFO or not LEAST_LOGIN <= length <= MAX_CLIENT_INFO:
            self._refuse(client, "malformed")
        elif after <= end:
            del self._silent[client]
            self._waiting[client] = bytes(arena.view[start + HEADER_BYTES : after])
            client.parse = _keep
            client.stream.pause()
            return after
        return start

    def work(self, now: int) -> None:
        """Work on logins that wait, as many as may be at once."""
        while self._waiting and self._work.take(1, now):
            client = next(iter(self._waiting))
            self._log_in(client, self._waiting[client])

    def deadline(self) -> int | None:
        """When to work on the next login; None where none waits."""
        return self._outgoing.now + self._work.wait(1) if self._waiting else None

    def expire(self, now: int) -> None:
        """Close those that did not log in in time."""
        late = list(takewhile(lambda client: self._silent[client] <= now, self._silent))
        for client in late:
            self._refuse(client, "late")

    def _log_in(self, client: Client, payload: bytes) -> None:
        admitted = self._relaying.admits(NodeKey(payload[:KEY_BYTES]))
        if not admitted and not self._mesh_keys:
            return self._refuse(client, "not_admitted")
        try:
            login = Login(self._key, payload)
        except RemoteProtocolError:
            return self._refuse(client, "malformed")
        except AuthenticationFailed:
            return self._refuse(client, "forged")
        role = self._role(login.info)
        if role is None:
            return self._refuse(client, "mesh_key")
        if role is Role.NODE and not admitted:
            return self._refuse(client, "not_admitted")
        return self._admit(client, login, role)

    def _admit(self, client: Client, login: Login, role: Role) -> None:
        client.key, client.role, client.prober = login.key, role, login.info.is_prober
        rate, burst = self._rate if role is Role.NODE else (0, 0)
        client.rate = Bucket(rate, burst, self._outgoing.now) if rate else None
        client.put(login.answer(self._entropy, rate, burst))
        self._finish(client)
        self._outgoing.counters.logins += 1
        self._entered(client)
        client.stream.resume()

    def _role(self, info: ClientInfo) -> Role | None:
        """Who comes with this mesh key; None where it is wrong."""
        if not info.mesh_key:
            return Role.NODE
        given = info.mesh_key.encode().lower()
        roles = [role for role, key in self._mesh_keys.items() if equal(key.hex().encode(), given)]
        return roles[0] if roles else None

    @property
    def _mesh_keys(self) -> dict[Role, bytes]:
        keys = {Role.SIBLING: self._relaying.siblings.mesh_key, Role.FELLOW: self._relaying.fellows.mesh_key}
        return {role: key for role, key in keys.items() if key}

    @cached_property
    def _key(self) -> BoxKey:
        return BoxKey(self._relaying.private_key.raw)

    def _refuse(self, client: Client, reason: str) -> None:
        self._outgoing.counters.add(f"refused_{reason}")
        self._close(client, "")


def _keep(client: Client, start: int, end: int) -> int:
    """Parse nothing yet."""
    return start
