"""One region of relays: at most one connection in use, kept open while it is wanted.

away     nothing is wanted, or an attempt has just failed       sends are dropped
trying   a connection is being made                             sends wait (see `Waiting`)
open     logged in at one of the relays                         sends go out
         and a better relay is there: log in at it, then let the old connection fade out
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from ghostwire.engine import SECOND
from ghostwire.errors import GhostwireError, ProtocolError, Refused, Unavailable
from ghostwire_derp.client.events import Event, Health, PeerGone, Received, Restarting
from ghostwire_derp.client.waiting import Waiting

if TYPE_CHECKING:
    from ghostwire import Buffer
    from ghostwire.engine import Clock
    from ghostwire.model import MapRelay
    from ghostwire.uplink.backoff import Backoff
    from ghostwire_derp.client.connection import Connection
    from ghostwire_derp.client.counters import Counters
    from ghostwire_derp.client.dial import Dialer
    from ghostwire_derp.client.notices import Notices
    from ghostwire_derp.client.relays import Relays

IDLE = 60 * SECOND
"""How long a connection that is not held lives after the last datagram was written."""
FADE = 2.0
"""Seconds that a connection which was replaced still receives: until all relays know where the node is now."""
STABLE = 10 * SECOND
"""A connection that lasted so long was a success: its loss begins a new backoff."""
IMPROVE = 30.0
"""Seconds between attempts to get to a better relay than the one that serves."""
MAX_PAUSE = 30 * SECOND
"""The longest that a relay which restarts can keep its clients from coming back."""


class Traffic(Protocol):
    """Whom a region tells what its connections bring."""

    def received(self, region: int, source: bytes, datagrams: Sequence[Buffer]) -> None:
        """A burst from one source came over a connection of this region."""

    def gone(self, region: int, peer: bytes) -> None:
        """No relay of this region has the peer."""

    def lost(self, region: int) -> None:
        """The region's connection is gone."""


class Region:
    """The connections to one region; `close` ends it for good."""

    def __init__(
        self,
        number: int,
        relays: Relays,
        dialer: Dialer,
        traffic: Traffic,
        clock: Clock,
        backoff: Backoff,
        counters: Counters,
        notices: Notices,
    ) -> None:
        self.number = number
        self._relays, self._dialer, self._traffic, self._clock = relays, dialer, traffic, clock
        self._backoff, self._counters, self._notices = backoff, counters, notices
        self._held = False
        self._wanted_until = 0
        self._connection: Connection | None = None
        self._opened_at = 0
        self._heard: int | None = None
        self._pause = 0.0
        self._task: asyncio.Task[None] | None = None
        self._trying = False
        self._waiting = Waiting(counters)
        self._fading: set[Connection] = set()

    @property
    def connected(self) -> bool:
        """Whether a connection is logged in."""
        return self._connection is not None

    @property
    def at(self) -> int | None:
        """The id of the relay whose connection is logged in."""
        return None if self._connection is None else self._connection.relay.id

    @property
    def heard(self) -> int | None:
        """When a connection last brought a frame."""
        return self._heard if self._connection is None else self._connection.heard

    def update(self, relays: Sequence[MapRelay], assigned: int | None) -> None:
        """These are the region's relays now, and the one that is assigned to this node."""
        if self._relays.update(relays, assigned):
            self._begin()

    def hold(self, held: bool) -> None:
        """Keep a connection whether it is used or not: this is the node's home, or no longer."""
        if held == self._held:
            return
        self._held = held
        self._wanted_until = self._clock.now() + IDLE
        if self._connection is not None:
            self._connection.prefer(held)
        elif held and not self._trying:
            self._begin()

    def send(self, peer: bytes, datagrams: Sequence[Buffer]) -> bool:
        """Send a burst to the peer with this raw node key; False where any of it was dropped."""
        self._wanted_until = self._clock.now() + IDLE
        if self._connection is not None:
            return self._connection.send(peer, datagrams)
        if self._task is None:
            self._begin()
        if not self._trying:
            self._counters.dropped_away += len(datagrams)
            return False
        return self._waiting.add(peer, datagrams)

    def sweep(self) -> None:
        """Close what nobody has used for a while, and get back to a relay that has restarted."""
        if not self._wanted():
            self._give_up()
            if self._connection is not None:
                self._leave(self._connection)
        elif self._task is None and self._candidates():
            self._begin()

    def suspect(self, addresses: Collection[str]) -> None:
        """The links changed, or time was lost: find out whether the connection still works, and wait no longer.

        ``addresses`` are this machine's now.
        """
        self._backoff.reset()
        if self._connection is not None:
            self._connection.ask(addresses)
        elif self._task is not None:
            self._begin()

    async def close(self) -> None:
        """End everything, having sent what was accepted."""
        trying, leaving = self._give_up(), list(self._fading)
        if self._connection is not None:
            leaving.append(self._connection)
            self._forget(self._connection)
        for connection in leaving:
            connection.close()
        if trying is not None:
            await asyncio.wait([trying])
        for connection in leaving:
            await connection.closed()

    # What the connections tell

    def happened(self, connection: Connection, event: Event) -> None:
        """A connection brought something."""
        if isinstance(event, Received):
            self._traffic.received(self.number, event.source, event.datagrams)
        elif isinstance(event, PeerGone):
            self._traffic.gone(self.number, event.peer)
        elif isinstance(event, Restarting):
            self._restarting(connection, event)
        elif isinstance(event, Health) and event.text:
            self._say(logging.WARNING, "health", "relay %s is not well: %s", connection.relay.name, event.text)

    def ended(self, connection: Connection, reason: GhostwireError) -> None:
        """A connection broke."""
        self._fading.discard(connection)
        if connection is not self._connection:
            return
        self._forget(connection)
        self._say(logging.INFO, "lost", "region %d: connection lost: %s", self.number, reason)
        if self._clock.now() - self._opened_at >= STABLE:
            self._backoff.reset()
        self._counters.lost += 1
        if self._wanted():
            self._begin(max(self._pause, self._backoff.next()))
        else:
            self._give_up()

    def _restarting(self, connection: Connection, event: Restarting) -> None:
        """Leave before the relay does, where there is another; else come back when it asks for it."""
        after = min(event.after, MAX_PAUSE)
        self._relays.restarting(connection.relay, self._clock.now() + after + min(event.lasting, MAX_PAUSE))
        if connection is self._connection:
            self._pause = after / SECOND
            self._begin()

    # Connecting

    def _wanted(self) -> bool:
        return self._held or self._clock.now() < self._wanted_until

    def _begin(self, delay: float = 0.0) -> None:
        """Try to get where it is best to be now; an attempt under way is given up."""
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.get_running_loop().create_task(self._improve(delay))
        self._trying = True

    def _give_up(self) -> asyncio.Task[None] | None:
        """Try no more; what is left of trying."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        self._rest()
        return task

    async def _improve(self, delay: float) -> None:
        """Connect, or move to a better relay, until there is none or nobody wants to."""
        while self._wanted() and (relays := self._candidates()):
            await asyncio.sleep(delay)
            self._trying = True
            try:
                self._adopt(await self._dialer.dial(relays, self, self._held))
            except GhostwireError as error:
                self._failed(error)
            except Exception as error:
                _surface(error)
                self._failed(GhostwireError(f"internal error: {type(error).__name__}"))
            delay = self._backoff.next() if self._connection is None else IMPROVE
        self._task = None
        self._rest()

    def _candidates(self) -> list[MapRelay]:
        current = None if self._connection is None else self._connection.relay
        return self._relays.candidates(current, self._clock.now())

    def _adopt(self, connection: Connection) -> None:
        """Use this connection from now on."""
        if connection.over:
            raise Unavailable(f"relay {connection.relay.name}: closed the connection")
        old, self._connection = self._connection, connection
        self._opened_at, self._pause = self._clock.now(), 0.0
        self._counters.connects += 1
        connection.prefer(self._held)
        self._waiting.flush(connection)
        if old is not None:
            self._fade(old)
        if self._held:
            self._say(logging.INFO, "connected", "region %d: connected to relay %s", self.number, connection.relay.name)

    def _failed(self, error: GhostwireError) -> None:
        """An attempt came to nothing."""
        self._counters.failures += 1
        if isinstance(error, Refused | ProtocolError):
            self._counters.refused += 1
        if self._connection is None:
            self._rest()
            self._say(logging.WARNING, f"failed: {error}", "region %d: no connection: %s", self.number, error)
        else:
            self._say(logging.INFO, f"stays: {error}", "region %d: no better relay yet: %s", self.number, error)

    def _rest(self) -> None:
        """Nothing is being tried just now."""
        self._trying = False
        self._waiting.drop()

    # Leaving

    def _fade(self, connection: Connection) -> None:
        """Let a connection that was replaced receive a little longer."""
        connection.prefer(False)
        self._fading.add(connection)
        asyncio.get_running_loop().call_later(FADE, connection.finish)

    def _leave(self, connection: Connection) -> None:
        self._forget(connection)
        connection.close()

    def _forget(self, connection: Connection) -> None:
        self._heard, self._connection = connection.heard, None
        self._traffic.lost(self.number)

    def _say(self, level: int, kind: str, text: str, *values: object) -> None:
        self._notices.say(level, (self.number, kind), text, *values)


def _surface(error: Exception) -> None:
    """Show the loop a bug; the next attempt may get by without it."""
    asyncio.get_running_loop().call_exception_handler({"message": "connecting to a relay failed", "exception": error})
