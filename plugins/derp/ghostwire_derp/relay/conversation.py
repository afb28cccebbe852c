"""What a client says besides packets: pings, its home, and what only relays may ask for."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from ghostwire_derp.bucket import Bucket
from ghostwire_derp.frames import (
    CLOSE_PEER,
    DISCO_MAGIC,
    DISCONNECTED,
    FORWARD_PACKET,
    KEY_BYTES,
    LEAST_DISCO,
    MESH_PEER,
    NOT_HERE,
    NOTE_PREFERRED,
    PEER_GONE,
    PEER_PRESENT,
    PING,
    PONG,
    PROBER,
    REGULAR,
    SEND_PACKET,
    WATCH_CONNS,
    frame,
)
from ghostwire_derp.relay.client import NOTICE_BURST, NOTICE_RATE, Client, Role
from ghostwire_derp.relay.limits import MAX_PAYLOAD
from ghostwire_derp.relay.outlet import Outgoing
from ghostwire_derp.relay.peers import Peers

LARGEST_PING = 1000


class Conversation:
    """Answers the frames that are no packets, and tells other relays who comes and goes."""

    def __init__(self, peers: Peers, outgoing: Outgoing) -> None:
        self._peers, self._outgoing, self._counters = peers, outgoing, outgoing.counters
        self._watchers: dict[Client, None] = {}
        peers.on_local.append(self._changed_here)
        peers.on_fellow.append(self._changed_at_fellow)

    def handle(self, client: Client, kind: int, payload: memoryview) -> None:
        """A frame of a client. Unknown ones are ignored; forbidden, malformed and oversized ones close it."""
        if kind == PING:
            proper = 8 <= len(payload) <= LARGEST_PING and self._pong(client, bytes(payload[:8]))
        elif kind == NOTE_PREFERRED:
            proper = len(payload) == 1 and payload[0] in (0, 1)
            self._counters.preferred += proper and payload[0]
        elif kind in (WATCH_CONNS, CLOSE_PEER, FORWARD_PACKET):
            proper = bool(client.role) and self._privileged(client, kind, payload)
        else:
            proper = (kind != SEND_PACKET or bool(client.role)) and len(payload) <= MAX_PAYLOAD
        if not proper:
            client.close(client, "violation")

    def missed(self, client: Client, destination: bytes, packet: memoryview) -> None:
        """Answer a discovery packet for a key that is nowhere, at a bounded rate."""
        if len(packet) < KEY_BYTES + LEAST_DISCO or packet[KEY_BYTES : KEY_BYTES + len(DISCO_MAGIC)] != DISCO_MAGIC:
            return
        now = self._outgoing.now
        if client.notices is None:
            client.notices = Bucket(NOTICE_RATE, NOTICE_BURST, now)
        if client.notices.take(1, now):
            client.put(frame(PEER_GONE, destination + bytes([NOT_HERE])))

    def forget(self, client: Client) -> None:
        """The client is gone."""
        self._watchers.pop(client, None)

    def _pong(self, client: Client, text: bytes) -> bool:
        """Answer, unless an answer of this pass or an earlier one still waits."""
        if client.ponged == self._outgoing.passes or (client.queue is not None and client.queue.holds(PONG)):
            self._counters.dropped_pings += 1
        else:
            client.ponged = self._outgoing.passes
            client.put(frame(PONG, text))
        return True

    def _privileged(self, client: Client, kind: int, payload: memoryview) -> bool:
        if kind == WATCH_CONNS and not payload:
            self._watch(client)
        elif kind == CLOSE_PEER and len(payload) == KEY_BYTES:
            for peer in self._peers.connections(bytes(payload)):
                peer.close(peer, "ordered")
        else:
            return False
        return True

    # Presence

    def _watch(self, watcher: Client) -> None:
        """Tell a relay of everybody now, and of every change from now on."""
        if watcher in self._watchers:
            return
        self._watchers[watcher] = None
        watcher.put(b"".join(_present(client) for client in self._peers.active.values()))
        if watcher.role is Role.SIBLING:
            fellows = [key for key in self._peers.routes.fellows() if key not in self._peers.active]
            watcher.put(b"".join(_present_at_fellow(key) for key in fellows))

    def _changed_here(self, key: bytes, present: bool) -> None:
        if self._watchers:
            notice = _present(self._peers.active[key]) if present else _gone(key)
            elsewhere = not present and self._peers.routes.by_fellow(key) is not None
            for watcher in self._watchers:
                if not (elsewhere and watcher.role is Role.SIBLING):
                    watcher.put(notice)

    def _changed_at_fellow(self, key: bytes, present: bool) -> None:
        if key in self._peers.active:
            return
        notice = _present_at_fellow(key) if present else _gone(key)
        for watcher in self._watchers:
            if watcher.role is Role.SIBLING:
                watcher.put(notice)


def _gone(key: bytes) -> bytes:
    return frame(PEER_GONE, key + bytes([DISCONNECTED]))


def _present(client: Client) -> bytes:
    flags = PROBER if client.prober else MESH_PEER if client.role else REGULAR
    return frame(PEER_PRESENT, client.key + _address(client.address) + bytes([flags]))


def _present_at_fellow(key: bytes) -> bytes:
    return frame(PEER_PRESENT, key + _address("") + bytes([REGULAR]))


def _address(text: str) -> bytes:
    """An address in IPv6's form (16) and a port (2), which nobody uses."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        address = IPv6Address(0)
    mapped = address if isinstance(address, IPv6Address) else IPv6Address(f"::ffff:{address}")
    return mapped.packed + bytes(2)
