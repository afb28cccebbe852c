"""Which relays run, as far as anybody knows: after a restart of the server, unknown is not gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ghostwire.server.timers import Timers

GRACE = 10.0
"""Seconds after which a relay whose session ended counts as gone: many come back at once."""
SETTLING = 90.0
"""Seconds after the server's start until which a relay that ran before may come back."""


class Attendance:
    """``gone(id)`` is called when a relay has not come back in time."""

    def __init__(self, gone: Callable[[int], None]) -> None:
        self._gone = gone
        self._connected: set[int] = set()
        self._missed = Timers(self._due)

    def start(self, relays: Iterable[int]) -> None:
        """These may have run until now."""
        for relay in relays:
            self._missed.arm(relay, SETTLING)

    def arrived(self, relay: int) -> None:
        """It has a session."""
        self._missed.cancel(relay)
        self._connected.add(relay)

    def lost(self, relay: int) -> None:
        """Its session ended."""
        self._connected.discard(relay)
        self._missed.arm(relay, GRACE)

    def remove(self, relay: int) -> None:
        """It is no relay of the mesh any more."""
        self._connected.discard(relay)
        self._missed.cancel(relay)

    def close(self) -> None:
        """Wait for nobody any more."""
        self._missed.close()

    def __contains__(self, relay: int) -> bool:
        return relay in self._connected or relay in self._missed

    def _due(self, relay: int) -> None:
        self._gone(relay)
