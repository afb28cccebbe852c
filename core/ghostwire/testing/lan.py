"""A network behind routers of a mesh in memory: its hosts answer echoes and UDP, by whatever router they are told."""

from __future__ import annotations

from functools import partial

from ghostwire.testing import packets
from ghostwire.testing.members import MemoryNode
from ghostwire.testing.packets import Datagram, Echo, Packet


class Lan:
    """Hosts at ``addresses`` behind ``routers``. Answers go through ``gateway`` (None: the router they came by)."""

    def __init__(self, addresses: set[str], *routers: MemoryNode) -> None:
        self.addresses, self.routers = addresses, list(routers)
        self.gateway: MemoryNode | None = None
        self.came_by: list[str] = []
        """The router of each packet that came."""
        self.attach()

    def attach(self) -> None:
        """Plug the routers in; again after one was restarted."""
        for router in self.routers:
            if router.up:
                router.device.beyond = partial(self._take, router)

    def send(self, source: str, target: str, data: bytes, router: MemoryNode) -> None:
        """A host sends a UDP payload by that router."""
        router.device.inject(packets.udp_packet(source, target, Datagram(7, 7, data)))

    def _take(self, router: MemoryNode, _raw: bytes, packet: Packet) -> None:
        self.came_by.append(router.name)
        echo, datagram = packets.read_echo(packet), packets.read_udp(packet)
        if packet.target not in self.addresses:
            return
        way = self.gateway or router
        if echo is not None and not echo.reply:
            answer = Echo(True, echo.identifier, echo.sequence, echo.data)
            way.device.inject(packets.echo_packet(packet.target, packet.source, answer))
        elif datagram is not None:
            back = Datagram(datagram.target_port, datagram.source_port, datagram.data)
            way.device.inject(packets.udp_packet(packet.target, packet.source, back))
