"""Viewers who were told more by another server than this one has heard of: they wait until it has caught up.

Where all is read that is stored and a cursor still is ahead, it is one of another history (a restored backup), and its
viewer begins anew. A server that cannot read it serves nobody from an older state than he has seen.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ghostwire.errors import GhostwireError
from ghostwire.model import Cursor
from ghostwire.server.session import Session

PATIENCE = 3.0
"""Seconds between two looks at what is stored, while somebody waits: commonly it comes by itself."""

_log = logging.getLogger("ghostwire.server")

Serve = Callable[[Session[Cursor]], None]


class Ahead:
    """Calls ``serve`` for each session once this server is as far as it is; ``catch_up`` reads all that is stored."""

    def __init__(self, revision: Callable[[], int], serve: Serve, catch_up: Callable[[], Awaitable[object]]) -> None:
        self._revision, self._serve, self._catch_up = revision, serve, catch_up
        self._waiting: set[Session[Cursor]] = set()
        self._looking: asyncio.Task[None] | None = None

    def add(self, session: Session[Cursor]) -> None:
        """Serve it, at once if that can be."""
        if self._reached(session):
            self._serve(session)
            return
        self._waiting.add(session)
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())

    def remove(self, session: Session[Cursor]) -> None:
        """Do not serve it any more; harmless where it was."""
        self._waiting.discard(session)
        self._rest()

    def committed(self) -> None:
        """This server has caught up a little."""
        if self._waiting:
            self._begin([session for session in self._waiting if self._reached(session)])
            self._rest()

    def _reached(self, session: Session[Cursor]) -> bool:
        return session.position is None or session.position.revision <= self._revision()

    def _begin(self, sessions: list[Session[Cursor]]) -> None:
        for session in sessions:
            if session in self._waiting:
                self._waiting.discard(session)
                self._serve(session)

    def _rest(self) -> None:
        if self._looking is not None and not self._waiting:
            self._looking.cancel()
            self._looking = None

    async def _look(self) -> None:
        while self._waiting:
            await asyncio.sleep(PATIENCE)
            waiting = list(self._waiting)
            try:
                await self._catch_up()
            except GhostwireError:  # out of reach: the plane ends all sessions where that lasts
                continue
            except Exception:
                _log.exception("what is stored cannot be read: internal error")
                continue
            self._begin(waiting)
        self._looking = None
