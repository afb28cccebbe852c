"""A link while it lasts: the session gets what arrives, the relay learns who is reached through it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ghostwire.driver import Driver
from ghostwire.engine import Clock
from ghostwire.errors import GhostwireError, Unavailable
from ghostwire_derp.mesh.session import MeshSession

if TYPE_CHECKING:
    from ghostwire_derp.relay.links import Link
    from ghostwire_derp.relay.relay import Relay


class Peering:
    """The link's events. ``opened`` is set once the login is done; ``over`` gives why the link ended."""

    def __init__(self, session: MeshSession, relay: Relay, clock: Clock) -> None:
        self._session, self._relay, self._clock = session, relay, clock
        self._driver = Driver(session, clock, self._drain)
        self._link: Link | None = None
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[GhostwireError] = loop.create_future()

    def begin(self, link: Link) -> None:
        """The stream is the relay's; frames may have come before."""
        self._link = link
        if self.over.done():
            link.close()
        self._driver.settle()
        self._relay.settle()

    def close(self) -> None:
        """End the link."""
        self._end(Unavailable("closed"))

    # What the link calls

    def frame(self, kind: int, payload: bytes) -> None:
        """The other relay sent a frame."""
        if self.over.done():
            return
        try:
            self._session.receive(kind, bytes(payload), self._clock.now())
        except GhostwireError as error:
            self._end(error)
        else:
            self._driver.settle()

    def lost(self) -> None:
        """The stream is over."""
        self._link = None
        self._end(self._session.closed())

    def _drain(self) -> None:
        if self._session.failure is not None:
            self._end(self._session.failure)
        if self._link is None:
            return
        if out := self._session.outgoing():
            self._link.send(out)
        changes, self._session.changes = self._session.changes, []
        for key, present in changes:
            (self._relay.add_route if present else self._relay.remove_route)(key, self._link)
        if self._session.opened and not self.opened.done():
            self.opened.set_result(None)

    def _end(self, reason: GhostwireError) -> None:
        if self.over.done():
            return
        self.over.set_result(reason)
        self._driver.close()
        link, self._link = self._link, None
        if link is not None:
            link.close()
            asyncio.get_running_loop().call_soon(self._relay.settle)  # we may be in the middle of a pass
