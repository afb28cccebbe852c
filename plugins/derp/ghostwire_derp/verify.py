"""Tells stock relays which node keys belong to the mesh, and tells nobody else.

A stock relay started with ``--verify-client-url`` asks ``POST /verify`` about each client that logs in:

    {"NodePublic": "nodekey:<hex>", "Source": "192.0.2.7"}  ->  {"Allow": true}
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import islice
from typing import TYPE_CHECKING, Any

from ghostwire import Mesh
from ghostwire.engine import SECOND, Clock
from ghostwire.errors import Refused
from ghostwire.frontdoor.rest import body_of, error_response, json_response
from ghostwire.keys import NodeKey
from ghostwire.model import Relay
from ghostwire.wire import api_errors
from ghostwire_derp.source_buckets import SourceBuckets

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

Address = IPv4Address | IPv6Address
Resolve = Callable[[str], Awaitable[Iterable[str]]]

RATE, AT_ONCE = 1_000, 10_000
"""Questions a second of one relay, and how many at once: a relay that restarts asks about all its clients."""
FRESH = 60 * SECOND
"""How long what a name resolved to is believed."""
PATIENCE = 2.0
"""Seconds for resolving; a stock relay waits for 5, then admits whoever asked."""
MAX_NAMES = 512
"""Names, counted once for each IP version, that are resolved at all."""
AT_A_TIME = 8


async def resolve(name: str) -> Iterable[str]:
    """The addresses of a host name, by the system's resolver in a thread; OSError where it has none."""
    found = await asyncio.get_running_loop().getaddrinfo(name, None)
    return [str(address[0]) for *_, address in found]


class RelayAddresses:
    """Where the mesh's relays ask from: their literal addresses, and what their names resolve to.

    The server's own relay asks nobody, so what comes from there, through a proxy say, is no relay's question.
    A name that cannot be resolved stands for what it resolved to last. Loopback is a relay's address only where its
    record says so, never because a name happens to lead there.
    """

    def __init__(self, mesh: Mesh, clock: Clock, resolve: Resolve = resolve) -> None:
        self._mesh, self._clock, self._resolve = mesh, clock, resolve
        self._relays: tuple[Relay, ...] = ()
        self._literal: set[Address] = set()
        self._names: set[tuple[str, int]] = set()
        self._found: dict[str, frozenset[Address]] = {}
        self._asked: dict[str, int] = {}
        self._resolving = asyncio.Lock()

    async def include(self, address: str) -> bool:
        """Whether a relay of the mesh has this address."""
        caller = _parsed(address)
        if caller is None:
            return False
        self._read()
        if caller in self._literal:
            return True
        names = [name for name, version in self._names if version == caller.version and _leads_to(name, caller)]
        await self._refresh(names)
        return any(caller in self._found.get(name, ()) for name in names)

    def _read(self) -> None:
        """Take over the records, where they have changed."""
        relays = tuple(relay for relay in self._mesh.list(Relay) if relay.source != "embedded")
        if relays == self._relays:
            return
        self._relays = relays
        texts = {text for relay in relays for text in (relay.host, relay.ipv4, relay.ipv6)}
        self._literal = {address for text in texts if (address := _parsed(text)) is not None}
        names = dict.fromkeys(pair for relay in relays for pair in _left_to_dns(relay))
        self._names = set(islice(names, MAX_NAMES))
        known = {name for name, _ in self._names}
        self._found = {name: found for name, found in self._found.items() if name in known}
        self._asked = {name: asked for name, asked in self._asked.items() if name in known}

    async def _refresh(self, names: Sequence[str]) -> None:
        async with self._resolving:
            now = self._clock.now()
            stale = [name for name in names if now - self._asked.get(name, now - FRESH) >= FRESH]
            if stale:
                slots = asyncio.Semaphore(AT_A_TIME)
                await asyncio.gather(*(self._look_up(name, slots) for name in stale))

    async def _look_up(self, name: str, slots: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(PATIENCE), slots:
                found = map(_parsed, await self._resolve(name))
                self._found[name] = frozenset(address for address in found if address is not None)
        except (OSError, UnicodeError, TimeoutError):
            pass
        self._asked[name] = self._clock.now()


class Verifier:
    """Answers ``POST /verify``."""

    def __init__(self, mesh: Mesh, clock: Clock, callers: RelayAddresses | None = None) -> None:
        self._mesh, self._clock = mesh, clock
        self._callers = callers or RelayAddresses(mesh, clock)
        self._limits = SourceBuckets(rate=RATE, burst=AT_ONCE)

    async def answer(self, request: Request) -> Response:
        """Allow or not; 403 for whoever is no relay, 429 where a relay asks too often, 400 for what is no question."""
        caller = request.client.host if request.client is not None else ""
        if not await self._callers.include(caller):
            message = "only relays of this mesh may ask; see: gwctl relays"
            return _refusal(HTTPStatus.FORBIDDEN, "permission-denied", message)
        if not self._limits.take(caller, self._clock.now()):
            return _refusal(HTTPStatus.TOO_MANY_REQUESTS, "too-many", "this relay asks too often; try again later")
        try:
            key = node_key_of(await body_of(request, dict[str, Any]))
        except Refused as error:
            return error_response(error)
        return json_response({"Allow": self._mesh.admits(key)})


def node_key_of(question: dict[str, Any]) -> NodeKey:
    """The key that is asked about; names are compared as Go does, whatever their case. Refused where there is none."""
    folded = {name.lower(): value for name, value in question.items()}
    try:
        return NodeKey.parse(str(folded.get("nodepublic", "")))
    except ValueError as error:
        raise Refused(f"NodePublic: {error}", "malformed") from None


def _refusal(status: HTTPStatus, code: str, message: str) -> Response:
    _, body = api_errors.answer(status, code, message)
    return json_response(body, status)


def _parsed(text: str) -> Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _left_to_dns(relay: Relay) -> list[tuple[str, int]]:
    """The relay's name with each IP version in which its record leaves the address to DNS."""
    if not relay.host or _parsed(relay.host) is not None:
        return []
    return [(relay.host, version) for version, text in ((4, relay.ipv4), (6, relay.ipv6)) if not text]


def _leads_to(name: str, address: Address) -> bool:
    return not address.is_loopback or name == "localhost"
