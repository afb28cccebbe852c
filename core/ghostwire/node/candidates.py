"""Which endpoints may be tried: a peer must not make us shout at ourselves, at groups or into the mesh."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_network

from ghostwire import Path, RelayTransport, Transport, relay_endpoint
from ghostwire.capabilities.tunnel import Prefix
from ghostwire.model import Endpoint, NetworkMap
from ghostwire.node.addresses import Address, address_of, is_reachable
from ghostwire.node.transports.supervised import runs
from ghostwire.wire.messages import MAX_ENDPOINT_TEXT

MAX_CANDIDATES = 32
"""The most paths that one message about a peer leads to."""
MAX_PER_ADDRESS = 8
"""How many of them may be ports of one IP address."""


class Candidates:
    """Turns peers' endpoints into paths over the transports that run; ``bare`` is the one that sends to addresses.

    Paths over relays are made of the map: a peer's word does not count there.
    """

    def __init__(self, transports: Sequence[Transport], network: NetworkMap, bare: str) -> None:
        self._relaying = {each.name: each for each in transports if isinstance(each, RelayTransport)}
        self._direct = {each.name: each for each in transports if each.name not in self._relaying}
        self._rank = {name: rank for rank, name in enumerate(self._direct)}
        self._network, self._bare = network, bare
        self._mesh: frozenset[Prefix] = frozenset()
        self._lengths: frozenset[int] = frozenset()
        self.refused = 0

    def avoid(self, mesh: Iterable[Prefix]) -> None:
        """Never try an address in these prefixes: they lead into the device."""
        self._mesh = frozenset(mesh)
        self._lengths = frozenset(prefix.prefixlen for prefix in self._mesh)

    def rank(self, transport: str) -> int:
        """A transport's rank among those that run, 0 the best."""
        return self._rank.get(transport, len(self._rank))

    def plain(self, peer: int) -> bool:
        """Whether the peer speaks no disco, as plain WireGuard does."""
        node = self._network.nodes.get(peer)
        return node is None or not any(node.disco_key.raw)

    def paths(self, endpoints: Iterable[Endpoint]) -> tuple[Path, ...]:
        """The direct paths to a peer's endpoints, those that may be tried, at most `MAX_CANDIDATES`."""
        found: dict[Path, None] = {}
        ports = Counter[Address | None]()
        for endpoint in endpoints:
            path = self._path(endpoint)
            if path is None or path in found:
                continue
            address = address_of(endpoint.text)
            ports[address] += address is not None
            if ports[address] > MAX_PER_ADDRESS:
                self.refused += 1
            else:
                found[path] = None
        return tuple(found)[:MAX_CANDIDATES]

    def bare(self, addresses: Iterable[str]) -> tuple[Path, ...]:
        """The same for ``address:port`` over the transport that sends to bare addresses."""
        return self.paths(Endpoint(self._bare, text) for text in addresses)

    def relayed(self, peer: int) -> Path | None:
        """The path to a peer over relays, where there are any, by the first transport that runs, else by one that may
        run again; region 0 stands for a home that is not known."""
        node = self._network.nodes.get(peer)
        if node is None or not self._network.relays:
            return None
        endpoint = relay_endpoint(node.home or 0, node.node_key)
        for transport in sorted(self._relaying.values(), key=runs, reverse=True):
            with suppress(ValueError):
                return transport.path(endpoint)
        return None

    def source(self, peer: int, source: Path) -> Path | None:
        """The path that leads back to where a datagram of this peer came from.

        A relay is at the peer's home, wherever the datagram passed; None where it came in another node's name.
        """
        node = self._network.nodes.get(peer)
        if node is None or source.transport not in self._relaying:
            return source
        if source.endpoint.rpartition("/")[2] != str(node.node_key):
            return None
        own = self.relayed(peer)
        return own if own is not None and own.transport == source.transport else source

    def _path(self, endpoint: Endpoint) -> Path | None:
        transport = self._direct.get(endpoint.transport)
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

    def _allowed(self, address: Address | None) -> bool:
        return address is None or (is_reachable(address) and not self._leads_into_mesh(address))

    def _leads_into_mesh(self, address: Address) -> bool:
        """There may be a prefix for every peer, but they are of few lengths."""
        lengths = (length for length in self._lengths if length <= address.max_prefixlen)
        return any(ip_network((address, length), strict=False) in self._mesh for length in lengths)
