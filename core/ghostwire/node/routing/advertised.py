"""What this node offers to pass packets on to: configured, or said by a person; and what of it works now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Sequence

import msgspec

from ghostwire import Forwarding, Platform
from ghostwire.errors import NotFound, UsageError
from ghostwire.node.routing.preferences import KeptPreferences
from ghostwire.wire.messages import MAX_ROUTES
from ghostwire.wire.prefixes import DEFAULTS, Prefix, is_default, parse_prefix, unroutable

LOOK = 3.0
"""Seconds between two looks at whether this machine still reaches what it offers: not all that fails changes a link."""


class Offered(msgspec.Struct, frozen=True):
    """What the configuration offers: ``routes`` as prefixes' texts, ``exit_node`` all of the internet; ``snat`` hides
    the mesh's addresses from the hosts there."""

    routes: Sequence[str] = ()
    exit_node: bool = False
    snat: bool = True


class Advertised:
    """``prefixes`` is what is offered, ``down`` what of it this machine cannot reach; ``changed`` is called when either
    is another. It looks from `start` to `stop`."""

    def __init__(
        self, configured: Offered, kept: KeptPreferences, platform: Platform, changed: Callable[[], object]
    ) -> None:
        self._kept, self._platform, self._changed = kept, platform, changed
        self._snat = configured.snat
        self.configured = frozenset(map(parse_prefix, configured.routes))
        if configured.exit_node:
            self.configured |= frozenset(DEFAULTS)
        self.prefixes: tuple[Prefix, ...] = ()
        self.down: tuple[Prefix, ...] = ()
        self._timer: asyncio.TimerHandle | None = None
        self._unwatch: Callable[[], None] | None = None
        self._collect()
        kept.forgotten = self.refresh

    def start(self) -> None:
        """Look now, and whenever links change."""
        self._unwatch = self._platform.watch_links(self.look)
        self.look()

    def stop(self) -> None:
        """Look no more; harmless when called twice."""
        unwatch, self._unwatch = self._unwatch, None
        if unwatch is not None:
            unwatch()
        self._cancel()

    def look(self) -> None:
        """Find out what of it works now."""
        self._cancel()
        if self._unwatch is None:
            return
        if self.prefixes:
            self._timer = asyncio.get_running_loop().call_later(LOOK, self.look)
        down = tuple(prefix for prefix in self.prefixes if not self._platform.reaches(str(prefix)))
        if down != self.down:
            self.down = down
            self._changed()

    def add(self, text: str) -> Prefix:
        """Offer this prefix too (a default route: both), from now on and after restarts; UsageError where it is none
        that can be routed."""
        prefix = read_prefix(text)
        if why := unroutable(prefix):
            raise UsageError(f"{prefix} cannot be offered: {why}")
        if len({*self.prefixes, *_pair(prefix)}) > MAX_ROUTES:
            raise UsageError(f"a node offers at most {MAX_ROUTES} routes; withdraw one first")
        self._remember({*self._said(), *_pair(prefix)})
        return prefix

    def remove(self, text: str) -> Prefix:
        """Offer it no longer; NotFound where it is not offered, UsageError where the configuration says so."""
        prefix = read_prefix(text)
        if prefix in self.configured:
            where = "exit_node" if is_default(prefix) else "routes"
            raise UsageError(f"{prefix} is offered by the configuration: take it out of {where} in [node] and restart")
        if prefix not in self._said():
            raise NotFound(f"{prefix} is not offered by this node; gwctl route list shows what is")
        self._remember(self._said() - {*_pair(prefix)})
        return prefix

    def refresh(self) -> None:
        """The preferences were changed from elsewhere."""
        before = self.prefixes
        self._collect()
        if self.prefixes != before:
            self.down = tuple(prefix for prefix in self.down if prefix in self.prefixes)
            self._changed()
            self.look()

    def forwarding(self, approved: Container[Prefix]) -> Forwarding | None:
        """What the system is to pass on: what is offered and approved."""
        texts = tuple(str(prefix) for prefix in self.prefixes if prefix in approved)
        return Forwarding(texts, self._snat) if texts else None

    def _said(self) -> set[Prefix]:
        return set(map(parse_prefix, self._kept.value.advertised))

    def _remember(self, said: set[Prefix]) -> None:
        texts = tuple(map(str, sorted(said - self.configured, key=_order)))
        self._kept.remember(msgspec.structs.replace(self._kept.value, advertised=texts))
        self.refresh()

    def _collect(self) -> None:
        self.prefixes = tuple(sorted(self.configured | self._said(), key=_order))

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def read_prefix(text: str) -> Prefix:
    """A prefix that a person wrote; UsageError says what is wrong."""
    try:
        return parse_prefix(text)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _pair(prefix: Prefix) -> Sequence[Prefix]:
    return DEFAULTS if is_default(prefix) else (prefix,)


def _order(prefix: Prefix) -> tuple[int, int, int]:
    return prefix.version, int(prefix.network_address), prefix.prefixlen
