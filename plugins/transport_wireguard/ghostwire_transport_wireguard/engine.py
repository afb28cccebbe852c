"""A WireGuard device without I/O: packets, datagrams, sources and time in; datagrams, packets and events out.

After each mutation drain ``events`` and ``sends``, in this order; see `ghostwire.engine`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Sequence
from typing import Final

from ghostwire import Activity, Buffer, Path, TunnelPeer
from ghostwire.engine import Entropy
from ghostwire.keys import PrivateKey
from ghostwire_transport_wireguard.allowed_ips import AllowedIps
from ghostwire_transport_wireguard.handshake_queue import HandshakeQueue
from ghostwire_transport_wireguard.keypair import OVERHEAD, Keypair
from ghostwire_transport_wireguard.local import Event, Local, Send
from ghostwire_transport_wireguard.noise import TRANSPORT
from ghostwire_transport_wireguard.packets import by_destination, from_owner
from ghostwire_transport_wireguard.peer import Peer

AT_ONCE: Final = 0
_HEAD: Final = struct.Struct("<II").unpack_from


class WireGuardEngine:
    """One node's tunnel; ``stamp`` gives handshake timestamps that never go back (see `Timestamps`)."""

    def __init__(self, private_key: PrivateKey, entropy: Entropy, stamp: Callable[[], bytes], mtu: int) -> None:
        self._local = Local(private_key, entropy, stamp, mtu)
        self.counters = self._local.counters
        self.peers: dict[int, Peer] = {}
        self._by_key: dict[bytes, Peer] = {}
        self._routes: AllowedIps[Peer] = AllowedIps()
        self._handshakes = HandshakeQueue(self._local, self._by_key)

    def apply(self, specs: Collection[TunnelPeer], now: int) -> None:
        """Make these the peers. A prefix that two of them claim goes to the one applied last."""
        kept = {spec.id: spec.key for spec in specs if spec.key.raw != self._local.private_key.public_raw}
        for peer in list(self.peers.values()):
            if kept.get(peer.id) != peer.spec.key:
                self._remove(peer)
        changed = [spec for spec in specs if spec.id in kept and not self._has(spec)]
        for spec in changed:
            self._withdraw(spec)
        for spec in changed:
            self._put(spec, now)

    def _has(self, spec: TunnelPeer) -> bool:
        peer = self.peers.get(spec.id)
        return peer is not None and peer.spec == spec

    def _withdraw(self, spec: TunnelPeer) -> None:
        """Take from a peer the prefixes it loses."""
        if peer := self.peers.get(spec.id):
            for prefix in set(peer.spec.allowed_ips).difference(spec.allowed_ips):
                self._routes.remove(prefix, peer)

    def _put(self, spec: TunnelPeer, now: int) -> None:
        peer = self.peers.get(spec.id)
        if peer is None:
            peer = self.peers[spec.id] = self._by_key[spec.key.raw] = Peer(self._local, spec)
        for prefix in spec.allowed_ips:
            self._routes.insert(prefix, peer)
        peer.configure(spec, now)

    def _remove(self, peer: Peer) -> None:
        for prefix in peer.spec.allowed_ips:
            self._routes.remove(prefix, peer)
        peer.close()
        del self.peers[peer.id]
        if self._by_key.get(peer.spec.key.raw) is peer:
            del self._by_key[peer.spec.key.raw]

    def attach(self, peer: int, paths: Sequence[Path]) -> None:
        """Send to this peer over these paths; harmless for an unknown one."""
        if found := self.peers.get(peer):
            found.attach(paths)

    def test(self, peer: int, path: Path, now: int) -> None:
        """Begin a handshake over this path alone; harmless for an unknown peer."""
        if found := self.peers.get(peer):
            found.test(path, now)

    def activity(self, peer: int) -> Activity:
        """When data last moved; all zeros for an unknown peer."""
        found = self.peers.get(peer)
        return Activity() if found is None else found.activity()

    def rest(self, peer: int) -> None:
        """Tell when data moves again; harmless for an unknown peer."""
        if found := self.peers.get(peer):
            found.rest()

    def send(self, packets: Sequence[Buffer], now: int) -> None:
        """Seal packets from the device for the peers they go to."""
        local = self._local
        for peer, run in by_destination(packets, self._routes, local.mtu, local.counters).items():
            peer.send(run, now)

    def receive(self, source: Path, datagrams: Sequence[Buffer], now: int) -> list[tuple[int, list[Buffer]]]:
        """Open datagrams: the packets for the device, by peer. Handshake messages wait for `advance`."""
        arrived: list[tuple[int, list[Buffer]]] = []
        at = 0
        while at < len(datagrams):
            keypair = self._keypair(source, datagrams[at], now)
            if keypair is None:
                at += 1
                continue
            opened, at = keypair.open(datagrams, at, self.counters)
            if opened:
                peer = keypair.peer
                peer.receive(keypair, opened, source, now)
                if packets := from_owner(opened, peer, self._routes, self.counters, peer.accepted):
                    arrived.append((peer.id, packets))
        return arrived

    def _keypair(self, source: Path, datagram: Buffer, now: int) -> Keypair | None:
        """What opens this datagram; where nothing does, it is queued or counted."""
        if len(datagram) < OVERHEAD:
            self.counters.malformed += 1
            return None
        kind, receiver = _HEAD(datagram)
        if kind != TRANSPORT:
            self._handshakes.put(source, datagram, now)
            return None
        keypair = self._local.sessions.get(receiver)
        if keypair is None:
            self.counters.unknown_session += 1
        elif now >= keypair.expires:
            self.counters.expired += 1
        else:
            return keypair
        return None

    def deadline(self) -> int | None:
        """When to call `advance` next; at once while handshake messages wait."""
        return AT_ONCE if len(self._handshakes) else self._local.timers.deadline()

    def advance(self, now: int) -> None:
        """Take a few handshake messages, then do what is due."""
        self._handshakes.work(now)
        self._local.timers.advance(now)

    @property
    def has_output(self) -> bool:
        """Whether events or sends wait to be drained."""
        return bool(self._local.sends or self._local.events)

    def take_events(self) -> list[Event]:
        """What happened since the last call."""
        events, self._local.events = self._local.events, []
        return events

    def take_sends(self) -> list[Send]:
        """What is to be sent since the last call; resolve each one's paths when all events have been told."""
        sends, self._local.sends = self._local.sends, []
        return sends

    def close(self) -> None:
        """Forget all peers and keys."""
        for peer in list(self.peers.values()):
            self._remove(peer)
