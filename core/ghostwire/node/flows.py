"""The flows through this node: those that it began, which may be answered, and those that others began."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from ghostwire.engine import SECOND
from ghostwire.node.packet import PORTLESS, TCP, Key, Packet

CAPACITY = 16_384
"""The most flows that are held of each kind."""
FRAGMENTED = 128
TCP_IDLE = 7440 * SECOND
"""How long a TCP flow may be silent (RFC 5382, section 5)."""
OTHER_IDLE = 300 * SECOND
"""The same for all others (RFC 4787, section 4.3)."""
FRAGMENT_LIFE = 30 * SECOND
_CHANCES = 8


class Flow:
    """A flow that was seen at ``seen`` and ends after ``idle`` of silence.

    ``peer`` began it, 0 where this node did. ``sure`` is False where the first packet that was seen of it was none to
    begin with: who began it is to be found out.
    """

    __slots__ = ("idle", "peer", "placed", "seen", "sure")

    def __init__(self, idle: int, now: int, peer: int, *, sure: bool) -> None:
        self.idle, self.seen, self.placed, self.peer, self.sure = idle, now, now, peer, sure

    def touch(self, now: int) -> bool:
        """Whether it still lives; it then was seen now."""
        if now - self.seen >= self.idle:
            return False
        self.seen = now
        return True

    def end(self) -> None:
        """It is held no longer: nobody who knows it may go on with it."""
        self.idle = 0


class Table:
    """At most ``capacity`` flows, by the shape in which their packets arrive.

    A new one takes the place of another: of its own peer's, if that has more than an equal share of them, else of the
    peer's that has most. Of a peer's flows it is that which was placed longest ago, unless it was seen since: it is
    then placed anew.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._flows: dict[Key, Flow] = {}
        self._orders: dict[int, OrderedDict[Key, Flow]] = {}

    def __len__(self) -> int:
        return len(self._flows)

    def find(self, key: Key, now: int) -> Flow | None:
        """The flow, which was seen now; None where there is none, or it was silent for too long."""
        flow = self._flows.get(key)
        return flow if flow is not None and flow.touch(now) else None

    def add(self, key: Key, flow: Flow) -> Flow:
        """Hold it."""
        self.remove(key)
        if len(self._flows) >= self._capacity:
            self._make_room(flow.peer)
        self._flows[key] = flow
        self._orders.setdefault(flow.peer, OrderedDict())[key] = flow
        return flow

    def remove(self, key: Key) -> None:
        """Hold it no longer; harmless where it is not held."""
        flow = self._flows.pop(key, None)
        if flow is not None:
            flow.end()
            order = self._orders[flow.peer]
            del order[key]
            if not order:
                del self._orders[flow.peer]

    def _make_room(self, peer: int) -> None:
        if len(self._orders.get(peer, ())) * len(self._orders) <= self._capacity:
            peer = max(self._orders, key=lambda each: len(self._orders[each]))
        self.remove(_oldest(self._orders[peer]))


def _oldest(order: OrderedDict[Key, Flow]) -> Key:
    """The first that was not seen since it was placed, of a few; those that were go to the end."""
    for _ in range(_CHANCES):
        key, flow = next(iter(order.items()))
        if flow.seen == flow.placed:
            break
        flow.placed = flow.seen
        order.move_to_end(key)
    return next(iter(order))


class Fragments:
    """The datagrams whose first fragment was admitted lately, at most ``capacity`` of each peer."""

    def __init__(self, capacity: int = FRAGMENTED) -> None:
        self._capacity = capacity
        self._seen: dict[int, OrderedDict[Key, int]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._seen.values()))

    def began(self, peer: int, packet: Packet, now: int) -> None:
        """The peer's first fragment was admitted."""
        seen = self._seen.setdefault(peer, OrderedDict())
        seen[packet.datagram] = now
        seen.move_to_end(packet.datagram)
        if len(seen) > self._capacity:
            seen.popitem(last=False)

    def follow(self, peer: int, packet: Packet, now: int) -> bool:
        """Whether a later fragment may follow its first one. Nothing may stand in the midst of a TCP header (RFC
        3128)."""
        held = self._seen.get(peer)
        seen = held.get(packet.datagram) if held else None
        overlaps = packet.protocol == TCP and packet.offset == 1
        return seen is not None and now - seen < FRAGMENT_LIFE and not overlaps

    def forget(self, peers: Iterable[int] | None) -> None:
        """Forget those of these peers, or all."""
        for peer in tuple(self._seen) if peers is None else peers:
            self._seen.pop(peer, None)


class Flows:
    """Flows that this node, or a host behind it, began, and flows that peers began: neither can push out the other."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._own, self._theirs = Table(capacity), Table(capacity)

    def __len__(self) -> int:
        return len(self._own) + len(self._theirs)

    def leaving(self, packet: Packet, now: int) -> Flow | None:
        """The flow of a packet that leaves: the one that it answers, or one that this node begins; None where it is
        nothing to answer."""
        if packet.offset or (packet.protocol in PORTLESS and packet.echo != "request"):
            return None
        key = packet.reversed().flow
        flow = self._theirs.find(key, now) or self._own.find(key, now)
        return flow or self._own.add(key, Flow(_idle(packet), now, 0, sure=packet.begins))

    def answered(self, packet: Packet, now: int) -> Flow | None:
        """The own flow that an arriving packet belongs to."""
        return None if packet.echo == "request" else self._own.find(packet.flow, now)

    def begun(self, peer: int, packet: Packet, now: int) -> Flow | None:
        """The flow of an arriving packet that the peer may send unasked: from now on it is the peer's, even if this
        node was thought to have begun it."""
        if packet.protocol in PORTLESS:
            return None
        key = packet.flow
        flow = self._theirs.find(key, now)
        if flow is None or flow.peer != peer:
            self._own.remove(key)
            flow = self._theirs.add(key, Flow(_idle(packet), now, peer, sure=True))
        return flow

    def left(self, packet: Packet, now: int) -> Flow | None:
        """The flow of a packet that left, as an ICMP error quotes it."""
        key = packet.reversed().flow
        return self._own.find(key, now) or self._theirs.find(key, now)


def _idle(packet: Packet) -> int:
    return TCP_IDLE if packet.protocol == TCP else OTHER_IDLE
