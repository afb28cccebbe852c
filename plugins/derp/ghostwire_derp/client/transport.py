"""The transport `derp`: one connection to the home region, others on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ghostwire import Buffer, Receive, RelayTransport
from ghostwire.engine import SECOND
from ghostwire.errors import PluginError
from ghostwire.uplink.backoff import Backoff
from ghostwire_derp.client.counters import Counters
from ghostwire_derp.client.dial import Dialer
from ghostwire_derp.client.notices import Notices
from ghostwire_derp.client.path import DerpPath
from ghostwire_derp.client.region import Region
from ghostwire_derp.client.relays import Relays
from ghostwire_derp.client.routes import Routes

if TYPE_CHECKING:
    from ghostwire import Identity, TransportContext
    from ghostwire.model import MapRelay

SWEEP = 15 * SECOND
"""How often connections are looked at: which are idle, and whether time was lost (the machine slept)."""
FIRST_DELAY, MOST_DELAY = 0.25, 5.0
"""Seconds of the backoff."""


class DerpTransport(RelayTransport):
    """Sealed datagrams through relays; where peers are is told by `use`, their paths and what is heard of them."""

    name = "derp"

    def __init__(self, context: TransportContext) -> None:
        self._context = context
        self.counters = Counters()
        self._routes = Routes(self._send)
        self._regions: dict[int, Region] = {}
        self._relays: Sequence[MapRelay] = ()
        self._home: int | None = None
        self._assigned: int | None = None
        self._receive: Receive | None = None
        self._notices = Notices(context.log, context.clock)
        self._sweeper: asyncio.TimerHandle | None = None
        self._swept = 0
        self._tell_lost: Callable[[int], object] = lambda region: None
        self._endings: set[asyncio.Task[None]] = set()
        self.counters.register(context.metrics)
        context.metrics.gauge(
            "ghostwire_derp_client_open",
            "Regions with a connection that is logged in.",
            lambda: sum(region.connected for region in self._regions.values()),
        )

    # What core calls

    async def start(self, receive: Receive) -> None:
        """Deliver from now on, and connect to the home region as soon as it is known."""
        self._dialer = self._make_dialer()
        self._receive = receive
        self._sweep_later()
        self._arrange()

    def endpoints(self) -> Sequence[str]:
        """None: core knows this node's home."""
        return ()

    def path(self, endpoint: str) -> DerpPath:
        """The path to ``REGION/nodekey:HEX``; ValueError says what was expected."""
        return DerpPath.parse(self._send, endpoint)

    def use(self, relays: Sequence[MapRelay], home: int | None, assigned: int | None) -> None:
        """These are the relays, this node's home region, and the relay's id to be at there."""
        self._relays, self._home, self._assigned = tuple(relays), home, assigned
        if self._receive is not None:
            self._arrange()

    def connected(self, region: int) -> bool:
        """Whether a connection to that region is logged in."""
        found = self._regions.get(region)
        return found is not None and found.connected

    def at(self, region: int) -> int | None:
        """The id of the relay that the connection to that region leads to."""
        found = self._regions.get(region)
        return None if found is None else found.at

    def heard(self, region: int) -> int | None:
        """When that region's connection last brought a frame."""
        found = self._regions.get(region)
        return None if found is None else found.heard

    def watch(self, lost: Callable[[int], object]) -> None:
        """Tell of connections that are gone."""
        self._tell_lost = lost

    def links_changed(self) -> None:
        """Ask every relay whether it still hears this node, and leave those that an address was used for which is
        this machine's no longer."""
        addresses = self._context.local_addresses()
        for region in self._regions.values():
            region.suspect(addresses)

    async def close(self) -> None:
        """Say goodbye to every relay."""
        self._receive = None
        if self._sweeper is not None:
            self._sweeper.cancel()
        for number in list(self._regions):
            self._drop(number)
        if self._endings:
            await asyncio.wait(self._endings)
        self._routes.clear()

    # What the regions call

    def received(self, region: int, source: bytes, datagrams: Sequence[Buffer]) -> None:
        """A burst arrived over a region."""
        if self._receive is None:
            return
        self.counters.received += len(datagrams)
        self.counters.received_bytes += sum(map(len, datagrams))
        self._receive(self._routes.heard(source, region), datagrams)

    def gone(self, region: int, peer: bytes) -> None:
        """A region does not have the peer."""
        self._routes.gone(peer, region)

    def lost(self, region: int) -> None:
        """A region's connection is gone, and with it the way back to whom it brought."""
        self._routes.lost(region)
        self._tell_lost(region)

    # Inside

    def _send(self, path: DerpPath, datagrams: Sequence[Buffer]) -> bool:
        """Where the peer was last heard, else where the path says, else to the own home region."""
        region = self._regions.get(self._routes.region(path.peer) or path.region)
        if region is None:
            region = self._regions.get(self._home or 0)
        if region is None:
            self.counters.dropped_region += len(datagrams)
            return False
        return region.send(path.peer, datagrams)

    def _arrange(self) -> None:
        """Bring the regions in line with what `use` said."""
        by_region: dict[int, list[MapRelay]] = {}
        for relay in self._relays:
            by_region.setdefault(relay.region, []).append(relay)
        for number in self._regions.keys() - by_region.keys():
            self._drop(number)
        for number, relays in by_region.items():
            region = self._regions.get(number) or self._open(number)
            at_home = number == self._home
            region.update(relays, self._assigned if at_home else None)
            region.hold(at_home)

    def _open(self, number: int) -> Region:
        context = self._context
        region = self._regions[number] = Region(
            number,
            Relays(context.node_key),
            self._dialer,
            self,
            context.clock,
            Backoff(context.entropy, FIRST_DELAY, MOST_DELAY),
            self.counters,
            self._notices,
        )
        return region

    def _drop(self, number: int) -> None:
        ending = asyncio.get_running_loop().create_task(self._regions.pop(number).close())
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    def _sweep_later(self) -> None:
        self._swept = self._context.clock.now()
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP / SECOND, self._sweep)

    def _sweep(self) -> None:
        """Close what is idle, unless the home is away: then every connection that works is worth keeping."""
        if self._context.clock.now() - self._swept > 2 * SWEEP:
            self.links_changed()
        if self._home is None or self.connected(self._home):
            for region in self._regions.values():
                region.sweep()
        self._sweep_later()

    def _make_dialer(self) -> Dialer:
        context = self._context
        identity: Identity | None = context.identity
        if identity is None:
            raise PluginError("derp", "the node gives its identity to the transport named derp alone")
        return Dialer(context.sockets, identity, context.clock, self.counters)
