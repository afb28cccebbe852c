"""Keeps the relay transports told: which relays there are, where this node is at home, which relay it is assigned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from ghostwire import RelayTransport
from ghostwire.model import MapRelay, NetworkMap

Told = tuple[tuple[MapRelay, ...], int | None, int | None]


class Relays:
    """What relay transports are to know; they are told only what is news."""

    def __init__(self, network: NetworkMap, home: int | None) -> None:
        self._network = network
        self._home = home
        self._assigned: tuple[int, int] | None = None
        self._transports: list[RelayTransport] = []
        self._told: Told | None = None
        self.lost: Callable[[], object] = lambda: None
        """Is called when the connection to the home region is gone."""

    @property
    def all(self) -> Collection[MapRelay]:
        """Every relay of the map."""
        return self._network.relays.values()

    @property
    def regions(self) -> dict[int, list[MapRelay]]:
        """Region -> its relays, those first that take new nodes."""
        found: dict[int, list[MapRelay]] = {}
        for relay in sorted(self.all, key=lambda each: (each.draining, each.id)):
            found.setdefault(relay.region, []).append(relay)
        return found

    def region_name(self, region: int | None) -> str:
        """What people call it."""
        return next((relay.region_name for relay in self.all if relay.region == region), str(region or ""))

    def relay_name(self, region: int | None) -> str:
        """The relay there by which packets pass, as far as that is known: that of a connection, else the assigned
        one, else the only one."""
        connected = self._connected_to(region)
        if connected is not None:
            return connected.name
        if region == self.home and self.relay is not None:
            return self.relay.name
        names = [relay.name for relay in self.all if relay.region == region]
        return names[0] if len(names) == 1 else ""

    def _connected_to(self, region: int | None) -> MapRelay | None:
        found = (each.at(region) for each in self._transports) if region is not None else ()
        return next((self._network.relays[id_] for id_ in found if id_ in self._network.relays), None)

    @property
    def home(self) -> int | None:
        """This node's home region, where there is such a region and a transport that goes there."""
        known = any(relay.region == self._home for relay in self.all)
        return self._home if known and self._transports else None

    @property
    def relay(self) -> MapRelay | None:
        """The relay of its home region that the server assigned to this node."""
        region, relay = self._assigned or (None, 0)
        found = self._network.relays.get(relay)
        return found if region == self.home and found is not None and found.region == region else None

    @property
    def transports(self) -> Sequence[RelayTransport]:
        """Those that run, or have run."""
        return self._transports

    def carried_by(self, transport: RelayTransport) -> bool:
        """This transport began or ceased to run. Whether there are relays that none led to before."""
        if transport not in self._transports:
            self._transports.append(transport)
            transport.watch(self._lost)
            self._told = None
            return self.update()
        if not self.connected():
            self.lost()
        return False

    def _lost(self, region: int) -> None:
        if region == self.home:
            self.lost()

    def move(self, home: int | None) -> bool:
        """Be at home in another region; whether that is news."""
        before = self.home
        self._home = home
        self.update()
        return self.home != before

    def assign(self, region: int, relay: int) -> None:
        """The server says at which relay of that region to be."""
        self._assigned = region, relay
        self.update()

    def update(self) -> bool:
        """Tell the transports, if anything changed; whether there are other relays than before."""
        relay = self.relay
        told: Told = tuple(self.all), self.home, relay.id if relay is not None else None
        before, self._told = self._told, told
        if told != before:
            for transport in self._transports:
                transport.use(*told)
        return (before[0] if before is not None else ()) != told[0]

    def links_changed(self) -> None:
        """This machine's links changed."""
        for transport in self._transports:
            transport.links_changed()

    def connected(self) -> bool:
        """Whether a connection to the home region is logged in."""
        home = self.home
        return home is not None and any(each.connected(home) for each in self._transports)

    def heard(self) -> int | None:
        """When the home region's connection last brought a frame, in nanoseconds of the clock."""
        home = self.home
        times = [each.heard(home) for each in self._transports] if home is not None else []
        return max((time for time in times if time is not None), default=None)
