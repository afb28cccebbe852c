"""This machine's links: watched for changes that give it other addresses or another router."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ghostwire import Platform

SETTLE = 0.5
"""Seconds after a change until it is acted upon: they come in flocks."""


class Links:
    """Watches from now until `close`; ``changed`` is called once other addresses, or another router, have settled."""

    def __init__(self, platform: Platform, changed: Callable[[], object]) -> None:
        self._platform, self._changed = platform, changed
        self._place = self._look()
        self._timer: asyncio.TimerHandle | None = None
        self._unwatch = platform.watch_links(self._settle)

    def close(self) -> None:
        """Watch no longer."""
        self._unwatch()
        self._cancel()

    def _settle(self) -> None:
        self._cancel()
        self._timer = asyncio.get_running_loop().call_later(SETTLE, self._compare)

    def _compare(self) -> None:
        place = self._look()
        if place != self._place:
            self._place = place
            self._changed()

    def _look(self) -> tuple[Sequence[str], str | None]:
        return tuple(self._platform.local_addresses()), self._platform.gateway()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
