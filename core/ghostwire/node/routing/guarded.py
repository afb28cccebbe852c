"""The addresses that this node needs for the mesh itself: its server's, the relays', its resolvers'."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

from ghostwire.errors import GhostwireError
from ghostwire.model import MapRelay
from ghostwire.node.netcheck.names import Lookup
from ghostwire.wire.serverurl import ServerUrl

Address = IPv4Address | IPv6Address

REFRESH = 300.0
"""Seconds between two looks at where names lead."""
MOST = 64
"""Names that are looked up; addresses of one name that count."""


class Guarded:
    """Follows names and the system's resolvers, from `start` to `close`; ``changed`` is called when `addresses` are
    others. A name that cannot be looked up keeps the addresses that it had. Who has no routes need not start."""

    def __init__(self, lookup: Lookup, resolvers: Callable[[], Sequence[str]], changed: Callable[[], object]) -> None:
        self._lookup, self._resolvers, self._changed = lookup, resolvers, changed
        self._hosts: dict[str, str] = {}
        self._found: dict[str, tuple[Address, ...]] = {}
        self._told: tuple[str, tuple[MapRelay, ...]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self.addresses: Mapping[Address, str] = {}

    def start(self) -> None:
        """Look now, and names up now and then; harmless when called twice."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._put_together()

    async def close(self) -> None:
        """Stop; harmless when called twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def follow(self, server: str, relays: Iterable[MapRelay]) -> None:
        """The server's URL and the relays are these now."""
        told = (server, tuple(relays))
        if told == self._told:
            return
        self._told = told
        self._hosts = dict(list(_hosts(*told).items())[:MOST])
        self._found = {host: found for host, found in self._found.items() if host in self._hosts}
        self.look_again()

    def look_again(self) -> None:
        """This machine's links changed."""
        if self._task is not None:
            self._put_together()
            self._news.set()

    async def _run(self) -> None:
        while True:
            self._news.clear()
            names = [host for host in self._hosts if _literal(host) is None]
            await asyncio.gather(*map(self._look_up, names))
            self._put_together()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), REFRESH if names else None)

    async def _look_up(self, host: str) -> None:
        with suppress(OSError, UnicodeError, GhostwireError):
            found = [_literal(text) for text in await self._lookup(host)]
            if host in self._hosts and any(found):
                self._found[host] = tuple(each for each in found if each is not None)[:MOST]

    def _put_together(self) -> None:
        addresses: dict[Address, str] = {}
        for host, what in self._hosts.items():
            literal = _literal(host)
            for address in self._found.get(host, ()) if literal is None else (literal,):
                addresses.setdefault(address, what)
        for resolver in map(_literal, self._resolvers()):
            if resolver is not None and not resolver.is_loopback:
                addresses.setdefault(resolver, "this machine's resolver")
        if addresses != self.addresses:
            self.addresses = addresses
            self._changed()


def _hosts(server: str, relays: Iterable[MapRelay]) -> dict[str, str]:
    """Host name or address -> what lives there."""
    found: dict[str, str] = {}
    with suppress(ValueError):
        found[ServerUrl.parse(server).host] = "the mesh's server"
    for relay in relays:
        for host in (relay.host, relay.ipv4, relay.ipv6):
            if host and host != "none":
                found.setdefault(host, f"the relay {relay.name}")
    return found


def _literal(text: str) -> Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
