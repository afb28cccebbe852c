"""Brings to each connected node what changed in its map; nodes whom nothing concerns cost nothing."""

from __future__ import annotations

from ghostwire.model import Cursor
from ghostwire.server.maps import Maps
from ghostwire.server.rounds import Rounds
from ghostwire.server.session import Session
from ghostwire.server.views.outbox import Outbox
from ghostwire.server.views.scene import Item


class Fanout(Rounds):
    """Serves the sessions of nodes from the maps' outboxes. What a slow reader lacks waits there, as it is by then."""

    def __init__(self, maps: Maps) -> None:
        super().__init__()
        self._maps = maps
        maps.outboxes.woken = self.changed

    def add(self, session: Session[Cursor]) -> None:
        """Serve this session from its position on."""
        self._maps.watch(session)

    def remove(self, session: Session[Cursor]) -> None:
        """Serve it no more; harmless when called twice."""
        outboxes = self._maps.outboxes
        outboxes.remove(outboxes.of(session))

    def drained(self, session: Session[Cursor]) -> None:
        """A slow reader has room again."""
        outboxes = self._maps.outboxes
        box = outboxes.of(session)
        if box is not None:
            outboxes.touch(box)

    async def _serve(self) -> None:
        made, tick = dict[frozenset[Item], bytes](), self._maps.tick
        async for box in self._paced(self.due()):
            if tick != self._maps.tick:
                made, tick = {}, self._maps.tick
            self.serve(box, made)

    def due(self) -> list[Outbox]:
        """Those with something to send."""
        self._maps.outboxes.sort()
        return list(self._maps.outboxes.ready)

    def serve(self, box: Outbox, made: dict[frozenset[Item], bytes]) -> None:
        """Send what is in an outbox, if it is still due; equal frames are taken from, and put into, ``made``."""
        if box not in self._maps.outboxes.ready:
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
        frame = self._maps.frame(box, made)
        if frame is None or box.session.push(frame):
            box.told(self._maps.cursor if frame is not None else None)
            self.frames += frame is not None
