"""This machine's links: watched for changes that give it other addresses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ghostwire import Platform

SETTLE = 0.5
"""Seconds after a change until it is acted upon: they come in flocks."""


class Links:
    """Watches from now until `close`; ``changed`` is called once other addresses have settled."""

    def __init__(self, platform: Platform, changed: Callable[[], object]) -> None:
        self._platform, self._changed = platform, changed
        self._addresses = tuple(platform.local_addresses())
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
        addresses = tuple(self._platform.local_addresses())
        if addresses != self._addresses:
            self._addresses = addresses
            self._changed()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
