"""Which advertised endpoints may be tried: a peer must not make us shout at ourselves, at groups or into the mesh."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from ghostwire import Path, Transport
from ghostwire.capabilities.tunnel import Prefix
from ghostwire.model import Endpoint
from ghostwire.wire.messages import MAX_ENDPOINT_TEXT

MAX_CANDIDATES = 16
"""The most paths one handshake initiation is sent over."""


class Candidates:
    """Turns peers' endpoints into paths over the transports that run, best rank first."""

    def __init__(self, transports: Sequence[Transport]) -> None:
        self._transports = {transport.name: transport for transport in transports}
        self._rank = {transport.name: rank for rank, transport in enumerate(transports)}
        self._mesh: tuple[Prefix, ...] = ()
        self.refused = 0

    def avoid(self, mesh: Iterable[Prefix]) -> None:
        """Never try an address in these prefixes: they lead into the device."""
        self._mesh = tuple(mesh)

    def paths(self, endpoints: Iterable[Endpoint], first: Path | None = None) -> tuple[Path, ...]:
        """At most `MAX_CANDIDATES` different paths: ``first``, then by rank, then as advertised."""
        ranked = sorted(endpoints, key=lambda endpoint: self._rank.get(endpoint.transport, 0))
        found = (self._path(endpoint) for endpoint in ranked)
        distinct = dict.fromkeys(path for path in (first, *found) if path is not None)
        return tuple(distinct)[:MAX_CANDIDATES]

    def _path(self, endpoint: Endpoint) -> Path | None:
        transport = self._transports.get(endpoint.transport)
        if transport is None:
            return None
        if len(endpoint.text) > MAX_ENDPOINT_TEXT or not self._allowed(address_of(endpoint.text)):
            self.refused += 1
            return None
        try:
            return transport.path(endpoint.text)
        except ValueError:
            self.refused += 1
            return None

    def _allowed(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is None or (is_reachable(address) and not any(address in prefix for prefix in self._mesh))


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """The address in ``host:port`` or ``[host]:port``; None where the text is no such thing."""
    try:
        address = ip_address(text.rpartition(":")[0].strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_reachable(address: IPv4Address | IPv6Address) -> bool:
    """Whether a peer elsewhere may live there: no loopback, link-local, group, broadcast or unspecified address."""
    unusable = (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or (address.version == 4 and address.is_reserved)
    )
    return not unusable
