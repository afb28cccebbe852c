"""Brings to each connected node what changed in its map; nodes whom nothing concerns cost nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice
from time import monotonic, monotonic_ns

from ghostwire.engine import SECOND
from ghostwire.model import Cursor
from ghostwire.server.maps import Maps
from ghostwire.server.rounds import Rounds
from ghostwire.server.session import Session
from ghostwire.server.views.outbox import ALL, CURSOR, Outbox
from ghostwire.server.views.scene import Item
from ghostwire.wire.messages import MAX_LACKING, NAMING, Lacking, Refresh

PATIENCE = 5.0
"""Seconds until viewers are told what they most likely know: after a restart of the server, all homes that are said to
be what they were, so that ten thousand nodes that come back cost each of those who see them a few frames."""
WHOLES = 16
"""Whole maps for comparing that are made in one round; who else wants one waits for the next."""
ANSWERING = 0.004
"""Seconds of answers to those who ask, between two rounds, before other work gets its turn."""
WHOLE_EVERY = 3600 * SECOND
"""The time between two whole maps in one session."""


class Fanout(Rounds):
    """Serves the sessions of nodes from the maps' outboxes. What a slow reader lacks waits there, as it is by then.

    Changes are gathered and told in rounds; who begins, or asks for all, waits for none. ``now`` gives nanoseconds.
    """

    def __init__(self, maps: Maps, now: Callable[[], int] = monotonic_ns) -> None:
        super().__init__()
        self._maps, self._now = maps, now
        self._wanting: dict[Outbox, None] = {}
        self._begun: deque[Outbox] = deque()
        self._answering: asyncio.Handle | None = None
        self._hurrying: asyncio.TimerHandle | None = None
        self.refused = 0
        """Questions for nodes or whole maps that were not answered: too many."""
        maps.outboxes.woken = self.changed

    def add(self, session: Session[Cursor]) -> None:
        """Serve this session from its position on."""
        box = self._maps.watch(session)
        if self._task is not None:
            self._begun.append(box)
            self._answer_soon()

    def remove(self, session: Session[Cursor]) -> None:
        """Serve it no more; harmless when called twice."""
        outboxes = self._maps.outboxes
        box = outboxes.of(session)
        if box is not None:
            outboxes.remove(box)
            self._wanting.pop(box, None)

    def asked(self, session: Session[Cursor], message: Lacking | Refresh) -> None:
        """The node wants to be told of nodes, or all."""
        box = self._maps.outboxes.of(session)
        if box is None or session.protocol < NAMING:
            return
        if isinstance(message, Lacking):
            self.refused += not self._maps.ask(box, message.nodes[:MAX_LACKING])
        elif self._now() < box.again:
            self.refused += 1
        else:
            box.again = self._now() + WHOLE_EVERY
            self._wanting[box] = None
            self._answer_soon()

    def drained(self, session: Session[Cursor]) -> None:
        """A slow reader has room again."""
        outboxes = self._maps.outboxes
        box = outboxes.of(session)
        if box is not None:
            outboxes.touch(box)

    async def close(self) -> None:
        """Stop; harmless when called twice."""
        for timer in (self._hurrying, self._answering):
            if timer is not None:
                timer.cancel()
        await super().close()

    def _answer_soon(self) -> None:
        if self._answering is None and self._task is not None:
            self._answering = asyncio.get_running_loop().call_soon(self._answer)

    def _answer(self) -> None:
        """Serve those who have begun, then those who want all, as far as nobody else waits too long for it."""
        self._answering = None
        made, until = dict[frozenset[Item], bytes](), monotonic() + ANSWERING
        while (self._begun or self._wanting) and monotonic() < until:
            self.serve(self._next_asking(), made)
        if self._begun or self._wanting:
            self._answer_soon()

    def _next_asking(self) -> Outbox:
        if self._begun:
            return self._begun.popleft()
        box = next(iter(self._wanting))
        self._prepare(box)
        return box

    async def _serve(self) -> None:
        made, tick = dict[frozenset[Item], bytes](), self._maps.tick
        async for box in self._paced(self.due()):
            if tick != self._maps.tick:
                made, tick = {}, self._maps.tick
            self.serve(box, made)
        if self._maps.outboxes.patient and self._hurrying is None:
            self._hurrying = asyncio.get_running_loop().call_later(PATIENCE, self._hurry)

    def _hurry(self) -> None:
        self._hurrying = None
        self._maps.outboxes.hurry()

    def due(self) -> list[Outbox]:
        """Those with something to send."""
        for box in list(islice(self._wanting, WHOLES)):
            self._prepare(box)
        return self._maps.due()

    def _prepare(self, box: Outbox) -> None:
        """Have it told the whole map."""
        del self._wanting[box]
        box.whole = True
        box.keys.add(CURSOR)
        self._maps.outboxes.touch(box)

    def serve(self, box: Outbox, made: dict[frozenset[Item], bytes]) -> None:
        """Send what is in an outbox, if it is still due; equal frames are taken from, and put into, ``made``."""
        if box not in self._maps.outboxes.ready or self._maps.turning:
            return
        del self._maps.outboxes.ready[box]
        try:
            self._tell(box, made)
        except Exception:
            self._maps.outboxes.remove(box)
            self._broken(box.session)

    def _tell(self, box: Outbox, made: dict[frozenset[Item], bytes]) -> None:
        if self._too_slow(box.session):
            return
        frame, complete = self._maps.frame(box, made), box.since == ALL
        if frame is None or box.session.push(frame):
            box.told(self._maps.cursor if frame is not None else None)
            self.frames += frame is not None
            if box.whole and not complete:
                self._compare(box, made)
            box.whole = False

    def _compare(self, box: Outbox, made: dict[frozenset[Item], bytes]) -> None:
        """The whole map, at the cursor of the frame before; lost where its reader is too slow just now."""
        frame = self._maps.whole(box.session.id, made)
        if frame is not None:
            self.frames += box.session.push(frame)
