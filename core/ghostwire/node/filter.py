"""The node's packet filter: rules from the map, default deny, asked on arrival; what leaves is only remembered."""

from __future__ import annotations

from collections.abc import Sequence

from ghostwire import Buffer, Metrics
from ghostwire.engine import Clock
from ghostwire.model import MapNode, NetworkMap
from ghostwire.node.flows import Flows
from ghostwire.node.packet import parse
from ghostwire.node.ruleset import Labels, Ruleset, compile_rules


class MapFilter:
    """The `Filter` that a tunnel asks; `update` follows the map, before which nothing is admitted.

    Where the map's rules let everyone do everything, bursts pass untouched and unread.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self._flows = clock, Flows()
        self._labels = Labels()
        self._rules: Ruleset | None = Ruleset(frozenset(), (), self._labels, NetworkMap())
        self.dropped = 0

    @property
    def admits_all(self) -> bool:
        """Whether the rules let everyone do everything."""
        return self._rules is None

    def register(self, metrics: Metrics) -> None:
        """Register the count of refused packets."""
        metrics.counter("ghostwire_node_filtered_packets_total", "Arriving packets refused.", lambda: self.dropped)

    def update(self, network: NetworkMap, own: MapNode) -> None:
        """Compile the map's rules for this node."""
        self._rules = compile_rules(network, own, self._labels)

    def admit(self, peer: int, packets: Sequence[Buffer]) -> Sequence[Buffer]:
        """Those of a peer's opened packets that may reach the device."""
        if self._rules is None:
            return packets
        rules, now = self._rules, self._clock.now()
        admitted = [packet for packet in packets if self._admits(rules, peer, packet, now)]
        self.dropped += len(packets) - len(admitted)
        return admitted

    def record(self, packets: Sequence[Buffer]) -> None:
        """Remember the flows of packets that leave."""
        if self._rules is None:
            return
        now = self._clock.now()
        for data in packets:
            packet = parse(data)
            if packet is not None:
                self._flows.leaving(packet, now)

    def _admits(self, rules: Ruleset, peer: int, data: Buffer, now: int) -> bool:
        packet = parse(data)
        if packet is None or packet.destination not in rules.addresses:
            return False
        if not rules.allows(peer, packet) and not self._flows.arriving(packet, now):
            return False
        self._flows.admitted(packet, now)
        return True
