"""The `userspace` tunnel: the WireGuard engine between a device, a filter and the peers' paths."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ghostwire import Activity, Buffer, Path, PeerStats, Tunnel, TunnelContext, TunnelPeer
from ghostwire.driver import Driver
from ghostwire_transport_wireguard.engine import WireGuardEngine
from ghostwire_transport_wireguard.local import Authenticated, Awake, Established, Event, Send, Wanted
from ghostwire_transport_wireguard.peer import Peer
from ghostwire_transport_wireguard.timestamps import Timestamps

TIMESTAMP_FILE = "handshake-timestamp"


class UserspaceTunnel(Tunnel):
    """WireGuard in this process. The device is used, not owned: who opened it closes it."""

    name = "userspace"

    def __init__(self, context: TunnelContext) -> None:
        self._clock, self._device = context.clock, context.device
        self._filter, self._events = context.filter, context.events
        self._stamps = Timestamps(context.state / TIMESTAMP_FILE, context.clock.wall, context.log)
        self._engine = WireGuardEngine(context.private_key, context.entropy, self._stamps, context.device.mtu)
        self.counters = self._engine.counters
        self.counters.register(context.metrics)
        self._driver: Driver | None = None
        self._draining = self._closed = False

    async def start(self) -> None:
        """Begin reading the device; StateError or PermissionDenied where timestamps cannot be kept."""
        self._stamps.open()
        self._driver = Driver(self._engine, self._clock, self._drain)
        self._device.start(self._leave)
        self._driver.settle()

    def apply(self, peers: Collection[TunnelPeer]) -> None:
        """Make these exactly the peers."""
        if self._closed:
            return
        self._engine.apply(peers, self._clock.now())
        self._settle()

    def attach(self, peer: int, paths: Sequence[Path]) -> None:
        """Send to this peer over these paths."""
        self._engine.attach(peer, paths)
        self._settle()

    def test(self, peer: int, path: Path) -> None:
        """Begin a handshake with this peer now, over this path alone."""
        if not self._closed:
            self._engine.test(peer, path, self._clock.now())
            self._settle()

    def activity(self, peer: int) -> Activity:
        """When data last moved."""
        return self._engine.activity(peer)

    def rest(self, peer: int) -> None:
        """Tell when data moves again."""
        self._engine.rest(peer)

    def receive(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        """Open what came from ``source`` and give it to the device."""
        if self._driver is None or self._closed:
            return
        arrived = self._engine.receive(source, datagrams, self._clock.now())
        if arrived:
            self._deliver(arrived)
        self._settle()

    def _deliver(self, arrived: list[tuple[int, list[Buffer]]]) -> None:
        counters = self.counters
        packets: list[Buffer] = []
        for peer, run in arrived:
            admitted = run if self._filter is None else self._filter.admit(peer, run)
            counters.filtered += len(run) - len(admitted)
            packets += admitted
        taken = self._device.write(packets) if packets else 0
        counters.received_packets += taken
        counters.device_full += len(packets) - taken

    def _leave(self, packets: Sequence[Buffer]) -> None:
        """Packets come from the device."""
        if self._closed:
            return
        if self._filter is not None:
            packets = self._filter.record(packets)
        self._engine.send(packets, self._clock.now())
        self._settle()

    def _settle(self) -> None:
        if self._driver is not None:
            self._driver.settle()

    def _drain(self) -> None:
        """Tell events, then send; what the told ones change meanwhile is drained in the same go."""
        if self._draining:
            return
        self._draining = True
        try:
            while self._engine.has_output:
                while events := self._engine.take_events():
                    for event in events:
                        self._tell(event)
                for send in self._engine.take_sends():
                    self._send(send)
        finally:
            self._draining = False

    def _tell(self, event: Event) -> None:
        match event:
            case Awake(peer):
                self._events.awake(peer)
            case Wanted(peer):
                self._events.wanted(peer)
            case Authenticated(peer, source):
                self._events.authenticated(peer, source)
            case Established(peer, source):
                self._events.established(peer, source)

    def _send(self, send: Send) -> None:
        paths = send.paths()
        if not paths:
            self.counters.no_path += len(send.datagrams)
        for path in paths:
            if not path.send(send.datagrams):
                self.counters.path_full += 1

    def stats(self) -> Sequence[PeerStats]:
        """Every peer's counters."""
        offset = self._clock.wall() - self._clock.now()
        return [_stats(peer, offset) for peer in self._engine.peers.values()]

    async def close(self) -> None:
        """Stop, forget all keys, and note the last timestamp."""
        if self._closed:
            return
        self._closed = True
        if self._driver is not None:
            self._driver.close()
        self._engine.close()
        self._stamps.close()


def _stats(peer: Peer, offset: int) -> PeerStats:
    handshake = 0 if peer.last_handshake is None else peer.last_handshake + offset
    route = peer.route()
    return PeerStats(
        peer.id, peer.received_bytes, peer.sent_bytes, handshake, route[0] if route else None, peer.heard_over
    )
