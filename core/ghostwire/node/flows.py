"""The flows that this node began or answered lately: what may come back although no rule lets it in."""

from __future__ import annotations

from collections import OrderedDict

from ghostwire.engine import SECOND
from ghostwire.node.packet import ICMP, ICMP6, TCP, Packet

CAPACITY = 8192
FRAGMENTED = 256
TCP_IDLE = 3600 * SECOND
OTHER_IDLE = 300 * SECOND
FRAGMENT_LIFE = 30 * SECOND

Key = tuple[object, ...]


class Recent:
    """When each of at most ``capacity`` keys was seen last; the one idle longest makes room."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._seen: OrderedDict[Key, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def remember(self, key: Key, now: int) -> None:
        """The key was seen now."""
        self._seen[key] = now
        self._seen.move_to_end(key)
        if len(self._seen) > self._capacity:
            self._seen.popitem(last=False)

    def lives(self, key: Key, now: int, life: int) -> bool:
        """Whether the key was seen less than ``life`` ago."""
        seen = self._seen.get(key)
        return seen is not None and now - seen < life


class Flows:
    """Flows by the shape in which their packets arrive, and the datagrams whose first fragment was admitted."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._flows, self._fragments = Recent(capacity), Recent(FRAGMENTED)

    def __len__(self) -> int:
        return len(self._flows)

    def leaving(self, packet: Packet, now: int) -> None:
        """Remember the flow of a packet that leaves, where it is one that may be answered."""
        answerable = packet.echo == "request" or packet.protocol not in (ICMP, ICMP6)
        if answerable and not packet.offset:
            self._flows.remember(_answer(packet), now)

    def arriving(self, packet: Packet, now: int) -> bool:
        """Whether a packet answers a remembered flow: directly, as an ICMP error, or as a later fragment."""
        if packet.offset:
            return self._fragments.lives(_fragment(packet), now, FRAGMENT_LIFE)
        quoted = packet.quoted
        if quoted is not None:
            return quoted.source == packet.destination and self._lives(_answer(quoted), now)
        if packet.echo == "request" or not self._lives(_flow(packet), now):
            return False
        self._flows.remember(_flow(packet), now)
        return True

    def admitted(self, packet: Packet, now: int) -> None:
        """Remember the first fragment of an admitted datagram, so that the others may follow."""
        if packet.fragment is not None and not packet.offset:
            self._fragments.remember(_fragment(packet), now)

    def _lives(self, flow: Key, now: int) -> bool:
        return self._flows.lives(flow, now, TCP_IDLE if flow[0] == TCP else OTHER_IDLE)


def _flow(packet: Packet) -> Key:
    return packet.protocol, packet.source, packet.source_port, packet.destination, packet.port


def _answer(packet: Packet) -> Key:
    return packet.protocol, packet.destination, packet.port, packet.source, packet.source_port


def _fragment(packet: Packet) -> Key:
    return packet.source, packet.destination, packet.fragment
