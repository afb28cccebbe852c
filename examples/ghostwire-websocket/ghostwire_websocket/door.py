"""Those who dialled this node: strangers until they introduce themselves, and never too many."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ghostwire import Buffer, TransportContext
from ghostwire.errors import GhostwireError
from ghostwire_websocket.connection import Connection
from ghostwire_websocket.counters import Counters
from ghostwire_websocket.endpoint import Endpoint
from ghostwire_websocket.identity import Identity
from ghostwire_websocket.session import Accepting

STRANGERS = 32
"""Connections that may be in the handshake."""


class Door:
    """Accepts connections as ``own`` and hands those that opened to ``admit``.

    Where there is no room, the stranger that came first, or the guest that was silent for longest, makes some.
    """

    def __init__(
        self,
        context: TransportContext,
        own: Endpoint,
        key: Identity,
        counters: Counters,
        admit: Callable[[Connection], None],
    ) -> None:
        self._context, self._own, self._key, self._counters, self._admit = context, own, key, counters, admit
        self._strangers: dict[Connection, None] = {}
        self._guests: dict[Connection, None] = {}

    def make(self) -> Connection:
        """The protocol of a new stream."""
        context = self._context
        if len(self._strangers) >= STRANGERS:
            self._displace(self._strangers, next(iter(self._strangers)))
        session = Accepting(self._own, self._key, context.entropy, context.clock.now())
        connection = Connection(session, self, context.clock)
        self._strangers[connection] = None
        return connection

    def close(self) -> None:
        """End the handshakes; guests are closed by their owners."""
        for connection in list(self._strangers):
            connection.close()
        self._strangers.clear()
        self._guests.clear()

    # What strangers' connections call

    def opened(self, connection: Connection) -> None:
        """One introduced himself."""
        self._strangers.pop(connection, None)
        self._guests = {guest: None for guest in self._guests if not guest.over}
        if len(self._guests) >= self._context.settings.connections:
            self._displace(self._guests, min(self._guests, key=lambda guest: guest.session.moved))
        self._guests[connection] = None
        self._admit(connection)

    def received(self, connection: Connection, datagrams: Sequence[Buffer]) -> None:
        """Strangers send no datagrams: a session gives none before it is open, and then has another owner."""

    def writable(self, connection: Connection) -> None:
        """Nothing waits for strangers."""

    def ended(self, connection: Connection, reason: GhostwireError) -> None:
        """One left, or was refused."""
        self._counters.refused += 1
        self._strangers.pop(connection, None)

    def _displace(self, among: dict[Connection, None], who: Connection) -> None:
        del among[who]
        self._counters.displaced += 1
        who.abort()
