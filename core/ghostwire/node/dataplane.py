"""What runs while the node is up: device, transports, tunnel, and what joins them; closed in reverse order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from ghostwire import (
    Metrics,
    NetworkConfig,
    NodeContext,
    Path,
    PeerStats,
    RelayTransport,
    Transport,
)
from ghostwire.errors import GhostwireError, PlatformError
from ghostwire.model import Endpoint, MapChange, MapNode
from ghostwire.node.candidates import Candidates
from ghostwire.node.demux import Demux
from ghostwire.node.director import Director, Endpoints
from ghostwire.node.filter import MapFilter
from ghostwire.node.making import Surroundings, create_transports, create_tunnel, node_context
from ghostwire.node.netcheck.netcheck import Netcheck
from ghostwire.node.parts import Parts
from ghostwire.node.paths.report import PathsReport
from ghostwire.node.reconciler import Peers, mesh_prefixes, network_config
from ghostwire.node.relays import Relays
from ghostwire.wire.messages import MAX_ENDPOINT_TEXT, MAX_ENDPOINTS


class Dataplane:
    """Packets between the device and the peers, made by `start`."""

    def __init__(self, parts: Parts, around: Surroundings) -> None:
        self._parts, self._around = parts, around
        self._stack = AsyncExitStack()
        self._peers, self._filter = Peers(), MapFilter(parts.clock)
        self._config: NetworkConfig | None = None
        self.transports: list[Transport] = []

    @classmethod
    async def start(cls, parts: Parts, around: Surroundings, own: MapNode) -> Dataplane:
        """All of it, up and configured. PlatformError, PermissionDenied or PluginError say what failed, and then
        nothing is left behind."""
        plane = cls(parts, around)
        try:
            await plane._start(own)
        except BaseException:
            await plane.close()
            raise
        return plane

    async def _start(self, own: MapNode) -> None:
        parts = self._parts
        metrics = parts.metrics.scope()
        self._stack.callback(parts.metrics.drop, metrics)
        device = await parts.platform.open_device(parts.interface, parts.mtu)
        self._stack.callback(device.close)
        context = node_context(parts, self._around, metrics)
        offered = create_transports(parts, self._around, context)
        self._candidates = Candidates(offered, self._around.network)
        self.relays = Relays(self._around.network, own.home)
        self._director = self._make_director()
        self._stack.callback(self._director.close)
        self._tunnel = create_tunnel(parts, self._around, context, device, self._filter, self._director)
        self._stack.push_async_callback(self._tunnel.close)
        self._director.direct(self._tunnel)
        self.netcheck = Netcheck(parts, context.node_key, self.relays, self._around.connected, self._around.found)
        demux = Demux(self._tunnel.receive, self.netcheck.measuring.stun)
        self._register(metrics, demux)
        self.update(own)
        await self._start_transports(offered, demux)
        self._stack.push_async_callback(self.netcheck.close)
        self.netcheck.start(next((each for each in self.transports if each.name == parts.bare), None))
        self._stack.push_async_callback(parts.platform.restore)
        await self.configure(own)
        await self._tunnel.start()
        await self._start_services(context)

    def update(self, own: MapNode, change: MapChange | None = None) -> None:
        """Follow the map, which changed so (None: all of it may be new): filter first, then peers, then relays."""
        network = self._around.network
        change = change or network.as_change()
        if change is None:
            return
        self._filter.update(network, own)
        came, gone = self._peers.update(change, own.id)
        self._candidates.avoid(mesh_prefixes(own, self._peers.all()))
        if came or gone:
            self._director.forget(gone)
            self._tunnel.apply(tuple(self._peers.all()))
        if self.relays.update():
            self.netcheck.hurry()
            self._director.rehomed(network.nodes)
        else:
            self._director.rehomed((*(node.id for node in change.nodes), *change.homes))

    async def configure(self, own: MapNode) -> None:
        """Bring the operating system's addresses and routes in line, where they are not."""
        config = network_config(own, self._peers.all(), self._parts.interface, self._parts.mtu)
        if config != self._config:
            await self._parts.platform.configure(config)
            self._config = config

    def endpoints(self) -> Endpoints:
        """What to advertise, best transport first; behind its own endpoints those that a translator gave it."""
        found: list[Endpoint] = []
        for transport in self.transports:
            if not isinstance(transport, RelayTransport):
                mapped = self.netcheck.mapped if transport.name == self._parts.bare else ()
                own = list(transport.endpoints())[: MAX_ENDPOINTS - len(mapped)]
                found += [Endpoint(transport.name, text) for text in dict.fromkeys((*own, *mapped))]
        return tuple(endpoint for endpoint in found if len(endpoint.text) <= MAX_ENDPOINT_TEXT)[:MAX_ENDPOINTS]

    def peer_endpoints(self, peer: int, endpoints: Endpoints) -> None:
        """The server says where a peer can be reached now."""
        self._director.peer_endpoints(peer, endpoints)

    def assign(self, region: int, relay: int) -> None:
        """The server says which relay of that region this node is to be at."""
        self.relays.assign(region, relay)

    def reconnected(self) -> None:
        """A new control session began."""
        self._director.reconnected()

    def links_changed(self) -> None:
        """This machine's links changed."""
        self._director.links_changed()
        self.relays.links_changed()
        self.netcheck.links_changed()

    def path(self, peer: int) -> Path | None:
        """The peer's confirmed path."""
        return self._director.path(peer)

    def latency(self, peer: int) -> float | None:
        """The round trip over the peer's direct path in milliseconds, where it was measured."""
        return None

    def explain(self, peer: int) -> PathsReport:
        """What path choice says of itself."""
        path, node = self.path(peer), self._around.network.nodes.get(peer)
        name = node.name if node is not None else ""
        if path is None:
            return PathsReport(peer=peer, name=name, state="searching", why="no path is confirmed")
        why = "it carried the last handshake"
        using, state = (f"{path.transport} {path.endpoint}",), "searching" if path.relayed else "direct"
        return PathsReport(peer=peer, name=name, state=state, why=why, using=using)

    def stats(self) -> Sequence[PeerStats]:
        """Every peer's counters."""
        return self._tunnel.stats()

    @property
    def admits_all(self) -> bool:
        """Whether the rules let everyone do everything."""
        return self._filter.admits_all

    async def close(self) -> None:
        """Take everything down, in reverse order; harmless when called twice."""
        await self._stack.aclose()

    def _make_director(self) -> Director:
        around = self._around
        return Director(self._candidates, around.endpoints, self._parts.clock, around.declare, around.moved)

    async def _start_transports(self, offered: Sequence[Transport], demux: Demux) -> None:
        """Start all; one that fails costs only itself, unless none is left."""
        failures: dict[str, GhostwireError] = {}
        for transport in offered:
            self._stack.push_async_callback(transport.close)
            try:
                await transport.start(demux.receive)
                self.transports.append(transport)
                if isinstance(transport, RelayTransport):
                    self.relays.carried_by(transport)
            except GhostwireError as error:
                failures[transport.name] = error
        if not self.transports:
            raise next(iter(failures.values()), PlatformError("no transport is selected; see: ghostwire plugins"))
        for name, failure in failures.items():
            self._parts.log.error("transport %s: %s", name, failure)

    async def _start_services(self, context: NodeContext) -> None:
        """Start what plugins run beside; one that fails costs only itself."""
        for provider in self._parts.services:
            try:
                service = provider.create(context)
                self._stack.push_async_callback(service.close)
                await service.start()
            except GhostwireError as error:
                self._parts.log.error("service %s: %s", provider.name, error)

    def _register(self, metrics: Metrics, demux: Demux) -> None:
        demux.register(metrics)
        self._filter.register(metrics)
        metrics.counter(
            "ghostwire_node_refused_endpoints_total",
            "Advertised endpoints that no peer can live at.",
            lambda: self._candidates.refused,
        )
        metrics.counter(
            "ghostwire_node_unusable_peers_total",
            "Peers of the map with malformed addresses.",
            lambda: self._peers.unusable,
        )
        metrics.counter(
            "ghostwire_node_misdirected_datagrams_total",
            "Datagrams of a peer that a relay brought in another node's name.",
            lambda: self._director.misdirected,
        )
