"""Where a node can be reached, told to the server whenever that is news."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ghostwire.node.director import Endpoints
from ghostwire.wire.messages import Report


class Whereabouts(msgspec.Struct, frozen=True):
    """Where this node can be reached: ``home`` is its home relay's region, ``relay`` the relay there, by id. ``routes``
    are the prefixes that it offers to pass packets on to, those in ``down`` without being able to now."""

    endpoints: Endpoints = ()
    home: int | None = None
    relay: int | None = None
    routes: tuple[str, ...] = ()
    down: tuple[str, ...] = ()


class Presence:
    """The one writer of this node's reports. ``session`` is the number of this start of the node, ``whereabouts``
    gives what to tell now, ``send`` whether the server will hear it."""

    def __init__(self, session: int, whereabouts: Callable[[], Whereabouts], send: Callable[[Report], bool]) -> None:
        self._session, self._whereabouts, self._send = session, whereabouts, send
        self._sequence = 0
        self._told: Whereabouts | None = None

    def forget(self) -> None:
        """Whoever is told next knows nothing yet."""
        self._told = None

    def report(self, *, always: bool = False) -> None:
        """Tell it, if it is news or asked for; which relay the server assigned is no news to it."""
        where = self._whereabouts()
        news = msgspec.structs.replace(where, relay=None)
        if news == self._told and not always:
            return
        self._sequence += 1
        report = Report(
            session=self._session,
            sequence=self._sequence,
            endpoints=where.endpoints,
            home=where.home,
            relay=where.relay,
            routes=where.routes,
            down=where.down,
        )
        self._told = news if self._send(report) else None
