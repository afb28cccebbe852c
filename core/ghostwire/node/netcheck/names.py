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
"""Seconds that a round waits for all names; later answers are for the next."""
FRESH = 300 * SECOND
"""How long an answer is good; one that cannot be renewed is used longer."""
MOST = 256
"""Names remembered."""
NONE = "none"
"""A relay's address of a family that it is not to be reached over."""


class Names:
    """Resolves at most once in `FRESH`. ``late`` is called when a name that no address was known of got one too late
    for the round that asked."""

    def __init__(self, lookup: Lookup, clock: Clock, late: Callable[[], object] = lambda: None) -> None:
        self._lookup, self._clock, self._late = lookup, clock, late
        self._known: dict[str, tuple[int, Sequence[str]]] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._awaited: frozenset[str] = frozenset()

    async def resolve(self, relays: Iterable[MapRelay]) -> dict[int, dict[int, str]]:
        """Relay id -> IP version -> address, as far as they are known in time."""
        held = list(relays)
        stale = dict.fromkeys(
            relay.host for relay in held if "" in (relay.ipv4, relay.ipv6) and self._stale(relay.host)
        )
        for host in list(stale)[: MOST - len(self._asking)]:
            self._asking[host] = asyncio.ensure_future(self._ask(host))
        self._awaited = frozenset(self._asking)
        try:
            if self._asking:
                await asyncio.wait(self._asking.values(), timeout=TIMEOUT)
        finally:
            self._awaited = frozenset()
        return {relay.id: self.addresses(relay) for relay in held}

    def close(self) -> None:
        """Wait for no answer any more."""
        for task in self._asking.values():
            task.cancel()

    def addresses(self, relay: MapRelay) -> dict[int, str]:
        """IP version -> address, from the map or as last resolved."""
        found = {_version(text): text for text in reversed(self._resolved(relay.host))}
        found |= {version: text for version, text in ((4, relay.ipv4), (6, relay.ipv6)) if text}
        return {version: text for version, text in found.items() if text != NONE and _version(text) == version}

    def _resolved(self, host: str) -> Sequence[str]:
        return [host] if _version(host) else self._known.get(host, (0, ()))[1]

    def _stale(self, host: str) -> bool:
        if _version(host) or host in self._asking:
            return False
        at, _ = self._known.get(host, (None, ()))
        return at is None or self._clock.now() - at >= FRESH

    async def _ask(self, host: str) -> None:
        try:
            found = [text for text in await self._lookup(host) if _version(text)][:16]
        except (OSError, UnicodeError):
            return
        finally:
            del self._asking[host]
        _, before = self._known.pop(host, (0, ()))
        self._known[host] = self._clock.now(), found
        if len(self._known) > MOST:
            del self._known[next(iter(self._known))]
        if found and not before and host not in self._awaited:
            self._late()


def _version(text: str) -> int:
    """4 or 6; 0 where the text is no address."""
    try:
        return ip_address(text).version
    except ValueError:
        return 0
