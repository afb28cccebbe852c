"""The node's packet filter: rules from the map, default deny, asked on arrival; what leaves is only remembered."""

from __future__ import annotations

from collections.abc import Sequence

from ghostwire import Buffer, Metrics
from ghostwire.engine import Clock
from ghostwire.model import MapChange, MapNode, NetworkMap
from ghostwire.node.flows import Flow, Flows, Fragments
from ghostwire.node.packet import Packet, parse
from ghostwire.node.ruleset import Ruleset
from ghostwire.node.shortcuts import Head, Shortcuts, heads

_LEAVING = 0
"""Whose shortcuts those of leaving packets are; no peer has this id."""


class MapFilter:
    """The `Filter` that a tunnel asks; `update` follows the map, before which nothing is admitted.

    Admitted is what a rule lets in, and what answers a flow that this node, or a host behind it, began: packets of the
    flow, ICMP errors that quote it, later fragments of what was admitted. A change of the policy takes effect at once:
    flows that a peer began are looked at anew with their next packet, in either direction, as their peer takes answers
    on its own. Flows that this node began go on until they are silent for long, or their peer leaves the map: to begin
    one is no business of this filter.

    While ``delegated``, the operating system checks what arrives, and all passes here.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self._flows, self._fragments = clock, Flows(), Fragments()
        self._shortcuts = Shortcuts()
        self.rules = Ruleset()
        self.delegated = False
        self.malformed = self.misdirected = self.denied = self.withheld = 0

    @property
    def admits_all(self) -> bool:
        """Whether one rule lets everyone do everything at this node."""
        return self.rules.admits_all

    @property
    def dropped(self) -> int:
        """Arriving packets refused."""
        return self.malformed + self.misdirected + self.denied

    def register(self, metrics: Metrics) -> None:
        """Register how many packets were refused, why, and how many flows are held."""
        counter, name = metrics.counter, "ghostwire_node_filtered_packets"
        counter(f"{name}_total", "Arriving packets refused.", lambda: self.dropped)
        counter(f"{name}_malformed_total", "Those of them that cannot be read.", lambda: self.malformed)
        counter(f"{name}_misdirected_total", "Those for neither this node nor its routes.", lambda: self.misdirected)
        text = "Leaving packets withheld, as they answer what the policy lets in no longer."
        counter("ghostwire_node_filter_withheld_packets_total", text, lambda: self.withheld)
        metrics.gauge("ghostwire_node_filter_flows", "Flows that the filter remembers.", lambda: len(self._flows))

    def update(self, network: NetworkMap, own: MapNode, change: MapChange | None = None) -> None:
        """Follow the map, which changed so (None: all of it may be new)."""
        changed = self.rules.update(network, own, change)
        self._shortcuts.forget({*changed, _LEAVING} if changed else changed)
        self._fragments.forget(changed)

    def admit(self, peer: int, packets: Sequence[Buffer]) -> Sequence[Buffer]:
        """Those of a peer's opened packets that may reach the device."""
        if self.delegated:
            return packets
        now, whole = self._clock.now(), heads(packets)
        unknown = self._shortcuts.unknown(peer, whole, now)
        if not unknown:
            return packets
        return [
            packet
            for packet, head in zip(packets, whole, strict=True)
            if head not in unknown or self._admits(peer, packet, head, now)
        ]

    def record(self, packets: Sequence[Buffer]) -> Sequence[Buffer]:
        """Remember the flows of packets that leave; all of them but answers to what a peer may send no longer."""
        if self.delegated:
            return packets
        now, whole = self._clock.now(), heads(packets)
        unknown = self._shortcuts.unknown(_LEAVING, whole, now)
        if not unknown:
            return packets
        return [
            packet
            for packet, head in zip(packets, whole, strict=True)
            if head not in unknown or self._leaves(packet, head, now)
        ]

    def _leaves(self, data: Buffer, head: Head | None, now: int) -> bool:
        packet = parse(data)
        if packet is None:
            return True
        flow = self._flows.leaving(packet, now)
        if flow is not None and flow.peer and not self.rules.allows(flow.peer, packet.reversed()):
            self.withheld += 1
            return False
        self._remember(_LEAVING, packet, head, flow)
        return True

    def _remember(self, peer: int, packet: Packet, head: Head | None, flow: Flow | None) -> None:
        if packet.plain and head is not None and flow is not None and flow.sure:
            self._shortcuts.add(peer, head, flow)

    def _admits(self, peer: int, data: Buffer, head: Head | None, now: int) -> bool:
        packet = parse(data)
        if packet is None:
            self.malformed += 1
        elif packet.destination not in self.rules.local:
            self.misdirected += 1
        elif not self.rules.knows(peer) or not self._passes(peer, packet, head, now):
            self.denied += 1
        else:
            return True
        return False

    def _passes(self, peer: int, packet: Packet, head: Head | None, now: int) -> bool:
        if packet.offset:
            return self._fragments.follow(peer, packet, now)
        flow = self._flows.answered(packet, now)
        answers = flow is not None and flow.sure
        if not answers and self.rules.allows(peer, packet):
            flow = self._flows.begun(peer, packet, now)
        elif flow is not None:
            flow.sure = True
        elif not self._quotes_ours(peer, packet, now):
            return False
        self._remember(peer, packet, head, flow)
        if packet.fragment is not None:
            self._fragments.began(peer, packet, now)
        return True

    def _quotes_ours(self, peer: int, packet: Packet, now: int) -> bool:
        """Whether it is an ICMP error about a packet that left by way of this peer: of a flow of this node's, or of a
        peer's that is still let in."""
        quoted = packet.quoted
        if quoted is None or quoted.source != packet.destination or not self.rules.leads(peer, quoted.destination):
            return False
        flow = self._flows.left(quoted, now)
        return flow is not None and (not flow.peer or self.rules.allows(flow.peer, quoted.reversed()))
