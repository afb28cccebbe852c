"""The userspace tunnel and the UDP transport keep the promises of their capabilities."""

import logging
from collections.abc import Sequence
from types import SimpleNamespace

from ghostwire import Metrics, Tunnel, TunnelContext
from ghostwire.system.sockets import SystemSockets
from ghostwire.testing.contracts import TransportContract, TunnelContract
from ghostwire_transport_wireguard.settings import Settings
from ghostwire_transport_wireguard.tunnel import UserspaceTunnel
from ghostwire_transport_wireguard.udp import UdpTransport


class TestUserspaceTunnel(TunnelContract):
    def make(self, context: TunnelContext) -> Tunnel:
        return UserspaceTunnel(context)


def loopback() -> Sequence[str]:
    return ["127.0.0.1"]


class TestUdpTransport(TransportContract):
    async def make(self) -> UdpTransport:
        context = SimpleNamespace(
            settings=Settings(port=0),
            sockets=SystemSockets(),
            metrics=Metrics(),
            log=logging.getLogger("test"),
            local_addresses=loopback,
        )
        return UdpTransport(context)  # type: ignore[arg-type]
