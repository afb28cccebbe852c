"""What runs while the node is up: device, transports, tunnel, and what joins them; closed in reverse order."""

from __future__ import annotations

import asyncio
import functools
from asyncio import FIRST_COMPLETED
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from ghostwire import (
    Metrics,
    NetworkConfig,
    NodeContext,
    Path,
    PeerStats,
)
from ghostwire.errors import GhostwireError, PlatformError
from ghostwire.model import MapChange, MapNode
from ghostwire.node.candidates import Candidates
from ghostwire.node.demux import Demux
from ghostwire.node.director import Director, Endpoints
from ghostwire.node.endpoints.discovery import Discovery
from ghostwire.node.filter import MapFilter
from ghostwire.node.firewall import Firewall
from ghostwire.node.making import Surroundings, create_transports, create_tunnel, node_context
from ghostwire.node.netcheck.netcheck import Netcheck
from ghostwire.node.parts import Parts
from ghostwire.node.paths.explain import explain, milliseconds
from ghostwire.node.paths.report import PathsReport
from ghostwire.node.paths.shared import State
from ghostwire.node.portmap.mapping import PortMapping
from ghostwire.node.reconciler import Peers, mesh_prefixes, network_config
from ghostwire.node.relays import Relays
from ghostwire.node.routing.manager import RouteManager
from ghostwire.node.routing.prober import Prober
from ghostwire.node.routing.report import ExitStatus, RouteStatus
from ghostwire.node.transports.blame import Blame
from ghostwire.node.transports.report import TransportStatus
from ghostwire.node.transports.supervised import Supervised, SupervisedRelay

if TYPE_CHECKING:
    from ghostwire.node.disco.disco import Disco

PATIENCE = 3.0
"""Seconds that transports have to start after another did, which then is enough to go on."""


class Dataplane:
    """Packets between the device and the peers, made by `start`."""

    def __init__(self, parts: Parts, around: Surroundings) -> None:
        self._parts, self._around = parts, around
        self._stack = AsyncExitStack()
        self._routes = RouteManager(parts, around, self._rerouted, around.reconfigure)
        self._peers, self._filter = Peers(self._routes.router), MapFilter(parts.clock)
        self._firewall = Firewall(parts.platform, parts.interface, self._filter, parts.log)
        self._config: NetworkConfig | None = None
        self.transports: Sequence[Supervised] = ()
        self._failures: dict[str, GhostwireError] = {}

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
        self.transports = create_transports(parts, self._around, context)
        self._candidates = Candidates(self.transports, self._around.network, parts.bare)
        self.relays = Relays(self._around.network, own.home)
        self._director = self._make_director()
        self._stack.callback(self._director.close)
        prober = Prober(self._director, parts.clock, self._routes.awake)
        self._tunnel = create_tunnel(parts, self._around, context, device, self._filter, prober)
        self._stack.push_async_callback(self._tunnel.close)
        self._routes.direct(prober, self._tunnel)
        self._stack.push_async_callback(self._routes.close)
        self.netcheck = Netcheck(parts, context.node_key, self.relays, self._around.connected, self._around.found)
        self._disco = self._make_disco(context)
        self._discovery = self._make_discovery()
        self._stack.push_async_callback(self._discovery.close)
        self._director.direct(self._tunnel, self._disco, self._discovery)
        demux = Demux(self._tunnel.receive, self.netcheck.measuring.stun, self._disco.receive)
        self._register(metrics, demux)
        self.update(own)
        self._stack.callback(Blame.listen(self._accused))
        await self._start_transports(demux)
        self._discovery.start()
        self._stack.push_async_callback(self.netcheck.close)
        self.netcheck.start(next((each for each in self.transports if each.name == parts.bare), None))
        self._stack.push_async_callback(parts.platform.restore)
        await self.configure(own)
        if parts.kernel_filter:
            self._stack.push_async_callback(self._firewall.close)
            await self._firewall.start(self._around.network, own)
        await self._tunnel.start()
        await self._start_services(context)

    def update(self, own: MapNode, change: MapChange | None = None) -> None:
        """Follow the map, which changed so (None: all of it may be new): filter first, then peers, then relays."""
        network = self._around.network
        change = change or network.as_change()
        if change is None:
            return
        self._filter.update(network, own, change)
        self._firewall.follow(network, own)
        self._disco.follow(change)
        came, gone = self._peers.update(change, own.id)
        mesh = mesh_prefixes(own, self._peers.addresses())
        self._candidates.avoid(mesh)
        self._discovery.avoid(mesh)
        rerouted = self._peers.reroute(self._routes.follow(change, own, mesh), network.nodes)
        if came or gone or rerouted:
            self._director.forget(gone)
            self._tunnel.apply(tuple(self._peers.all()))
        if self.relays.update():
            self.netcheck.hurry()
            self._director.rehomed(network.nodes)
        else:
            self._director.rehomed((*(node.id for node in change.nodes), *change.homes))

    async def configure(self, own: MapNode) -> None:
        """Bring the operating system's addresses and routes in line, where they are not."""
        config = self._wanted_config(own)
        if config != self._config:
            await self._parts.platform.configure(config)
            self._config = config

    def reroute(self) -> None:
        """The person wants other routes, or offers others; `configure` comes first."""
        self._rerouted(self._routes.reroute())

    def _wanted_config(self, own: MapNode) -> NetworkConfig:
        mesh, choice = mesh_prefixes(own, self._peers.addresses()), self._around.preferences.value.exit_node
        config = network_config(own, mesh, self._parts.interface, self._parts.mtu)
        return msgspec.structs.replace(
            config,
            routes=config.routes + self._routes.prefixes(),
            lan=choice is not None and choice.lan,
            forwarding=self._around.advertised.forwarding(self._routes.approved()),
            isolated=any(provider.isolated for provider in self._parts.transports),
        )

    def _rerouted(self, peers: set[int]) -> None:
        """Other prefixes go through these peers."""
        if self._peers.reroute(peers, self._around.network.nodes):
            self._tunnel.apply(tuple(self._peers.all()))

    def endpoints(self) -> Endpoints:
        """What to advertise, best first."""
        return self._discovery.endpoints()

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
        self._discovery.links_changed()
        self._routes.links_changed()

    def route_statuses(self) -> Sequence[RouteStatus]:
        """Every route that other nodes offer."""
        return self._routes.statuses()

    def exit_status(self) -> ExitStatus | None:
        """The exit node chosen, if any."""
        return self._routes.exit_status()

    def path(self, peer: int) -> Path | None:
        """The path that carries the peer's packets."""
        return self._director.path(peer)

    def state(self, peer: int) -> State:
        """Where the peer's path choice is."""
        choice = self._director.choice(peer)
        return choice.state if choice is not None else State.ASLEEP

    def latency(self, peer: int) -> float | None:
        """The round trip over the peer's direct path in milliseconds, where it was measured."""
        choice = self._director.choice(peer)
        return milliseconds(choice.best.latency) if choice is not None and choice.best is not None else None

    def explain(self, peer: int) -> PathsReport:
        """Which ways lead to the peer, and why one is used."""
        choice, node = self._director.choice(peer), self._around.network.nodes.get(peer)
        name = node.name if node is not None else ""
        if choice is None:
            return PathsReport(peer=peer, name=name, state="asleep", why="no data moved yet")
        return explain(choice, name, self._parts.clock.now(), connected=self.relays.connected())

    def stats(self) -> Sequence[PeerStats]:
        """Every peer's counters."""
        return self._tunnel.stats()

    @property
    def admits_all(self) -> bool:
        """Whether the rules let everyone do everything."""
        return self._filter.admits_all

    @property
    def filter_trouble(self) -> str:
        """Why the system's firewall does not filter where it should; empty where all is well."""
        return self._firewall.trouble

    async def close(self) -> None:
        """Take everything down, in reverse order; harmless when called twice."""
        await self._stack.aclose()

    def _make_director(self) -> Director:
        around = self._around
        clock, entropy = self._parts.clock, self._parts.entropy
        return Director(self._candidates, around.endpoints, clock, entropy, around.declare, around.moved)

    def _make_disco(self, context: NodeContext) -> Disco:
        from ghostwire.node.disco.disco import Disco  # loads libsodium, which a node that is down does not need

        parts, around = self._parts, self._around
        return Disco(around.disco_key, context.node_key, around.network, parts.clock, parts.entropy, self._director)

    def _make_discovery(self) -> Discovery:
        parts = self._parts
        mapping = PortMapping(parts, lambda: self._discovery.review()) if parts.port_mapping else None
        return Discovery(parts, self.transports, self.netcheck, mapping, self._around.found, self._around.slept)

    def transport_statuses(self) -> Sequence[TransportStatus]:
        """How each transport is, best first."""
        return [each.keeper.status() for each in self.transports]

    def did(self, plugin: str, what: str) -> None:
        """A plugin did something that it should not, which is shown with its transports."""
        for each in self.transports:
            if each.keeper.origin.plugin == plugin:
                each.keeper.did(what)

    async def _start_transports(self, demux: Demux) -> None:
        """Start all at once, which have so long where one runs; one that fails costs only itself, unless none is
        left."""
        for transport in self.transports:
            self._stack.push_async_callback(transport.close)
        starting = {asyncio.create_task(self._start_transport(each, demux)) for each in self.transports}
        try:
            await self._started(starting)
        finally:
            for task in starting:
                task.cancel()

    async def _started(self, starting: set[asyncio.Task[bool]]) -> None:
        runs = False
        while starting:
            patience = PATIENCE if runs else None
            done, starting = await asyncio.wait(starting, timeout=patience, return_when=FIRST_COMPLETED)
            runs = runs or any(each.result() for each in done)
            if not done:
                return
        if not runs:
            nothing = PlatformError("no transport is selected; see: ghostwire plugins")
            raise next((self._failures[each.name] for each in self.transports), nothing)

    async def _start_transport(self, transport: Supervised, demux: Demux) -> bool:
        """Whether it runs; where it does not, it logs why and is started again."""
        transport.keeper.changed = functools.partial(self._changed, transport)
        try:
            await transport.start(demux.receive)
        except GhostwireError as error:
            self._failures[transport.name] = error
            return False
        return True

    def _changed(self, transport: Supervised) -> None:
        """It began or ceased to run: this node is found elsewhere, or peers over relays are."""
        if not isinstance(transport, SupervisedRelay):
            self._discovery.review()
            return
        if self.relays.carried_by(transport):
            self.netcheck.hurry()
        self._director.rehomed(self._around.network.nodes)

    def _accused(self, error: BaseException, packages: frozenset[str]) -> bool:
        """Whether a transport's own code raised this. The tunnel's plugin is trusted like core: so is its code."""
        tunnel = type(self._tunnel).__module__.partition(".")[0]
        keepers = [each.keeper for each in self.transports]
        accused = next((each for each in keepers if each.package in packages - {"", tunnel}), None)
        if accused is not None:
            accused.raised("its own task", error)
        return accused is not None

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
        self._disco.register(metrics)
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
            "ghostwire_node_unusable_routes_total",
            "Routes of the map that are malformed, or beyond the number that is looked at.",
            lambda: self._routes.router.offers.unusable,
        )
        metrics.counter(
            "ghostwire_node_misdirected_datagrams_total",
            "Datagrams of a peer that a relay brought in another node's name.",
            lambda: self._director.misdirected,
        )
