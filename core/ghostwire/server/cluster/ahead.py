"""Viewers who were told more by another server than this one has heard of: they wait until it has caught up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ghostwire.model import Cursor
from ghostwire.server.session import Session

PATIENCE = 3.0
"""Seconds after which a cursor counts as one of another history."""

Serve = Callable[[Session[Cursor]], None]


class Ahead:
    """Calls ``serve`` for each session once this server is as far as it is."""

    def __init__(self, revision: Callable[[], int], serve: Serve) -> None:
        self._revision, self._serve = revision, serve
        self._waiting: dict[Session[Cursor], asyncio.TimerHandle] = {}

    def add(self, session: Session[Cursor]) -> None:
        """Serve it, at once if that can be."""
        if session.position is None or session.position.revision <= self._revision():
            self._serve(session)
        else:
            loop = asyncio.get_running_loop()
            self._waiting[session] = loop.call_later(PATIENCE, self._begin, session)

    def remove(self, session: Session[Cursor]) -> None:
        """Do not serve it any more; harmless where it was."""
        timer = self._waiting.pop(session, None)
        if timer is not None:
            timer.cancel()

    def committed(self) -> None:
        """This server has caught up a little."""
        for session in [each for each in self._waiting if each.position and each.position.revision <= self._revision()]:
            self._waiting[session].cancel()
            self._begin(session)

    def _begin(self, session: Session[Cursor]) -> None:
        del self._waiting[session]
        self._serve(session)
