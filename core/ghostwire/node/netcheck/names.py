"""Relays' addresses: those the map gives, and what their names resolve to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import ip_address

from ghostwire.engine import SECOND, Clock
from ghostwire.model import MapRelay

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Resolves a host's name; OSError where it is not known, UnicodeError where it can be no name."""

TIMEOUT = 1.0
"""Seconds for all names of a round."""
FRESH = 300 * SECOND
"""How long an answer is good; one that cannot be renewed is used longer."""
MOST = 256
"""Names remembered."""
NONE = "none"
"""A relay's address of a family that it is not to be reached over."""


class Names:
    """Resolves at most once in `FRESH`."""

    def __init__(self, lookup: Lookup, clock: Clock) -> None:
        self._lookup, self._clock = lookup, clock
        self._known: dict[str, tuple[int, Sequence[str]]] = {}

    async def resolve(self, relays: Iterable[MapRelay]) -> dict[int, dict[int, str]]:
        """Relay id -> IP version -> address, as far as they are known in time."""
        held = list(relays)
        stale = dict.fromkeys(
            relay.host for relay in held if "" in (relay.ipv4, relay.ipv6) and self._stale(relay.host)
        )
        tasks = [asyncio.ensure_future(self._ask(host)) for host in list(stale)[:MOST]]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=TIMEOUT)
            for task in late:
                task.cancel()
        return {relay.id: self.addresses(relay) for relay in held}

    def addresses(self, relay: MapRelay) -> dict[int, str]:
        """IP version -> address, from the map or as last resolved."""
        found = {_version(text): text for text in reversed(self._resolved(relay.host))}
        found |= {version: text for version, text in ((4, relay.ipv4), (6, relay.ipv6)) if text}
        return {version: text for version, text in found.items() if text != NONE and _version(text) == version}

    def _resolved(self, host: str) -> Sequence[str]:
        return [host] if _version(host) else self._known.get(host, (0, ()))[1]

    def _stale(self, host: str) -> bool:
        at, _ = self._known.get(host, (None, ()))
        return not _version(host) and (at is None or self._clock.now() - at >= FRESH)

    async def _ask(self, host: str) -> None:
        try:
            found = await self._lookup(host)
        except (OSError, UnicodeError):
            return
        self._known.pop(host, None)
        self._known[host] = self._clock.now(), [text for text in found if _version(text)][:16]
        if len(self._known) > MOST:
            del self._known[next(iter(self._known))]


def _version(text: str) -> int:
    """4 or 6; 0 where the text is no address."""
    try:
        return ip_address(text).version
    except ValueError:
        return 0
