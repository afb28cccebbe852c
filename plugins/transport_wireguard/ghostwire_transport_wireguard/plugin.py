"""What transport_wireguard offers: the `userspace` tunnel and the `udp` transport."""

from __future__ import annotations

from collections.abc import Iterator

from ghostwire import Provider, Transport, TransportContext, Tunnel, TunnelContext, hookimpl
from ghostwire_transport_wireguard.settings import Settings

LIBRARIES = ("nacl",)

__all__ = ["LIBRARIES", "Settings"]


def _tunnel(context: TunnelContext) -> Tunnel:
    from ghostwire_transport_wireguard.tunnel import UserspaceTunnel

    return UserspaceTunnel(context)


def _transport(context: TransportContext) -> Transport:
    from ghostwire_transport_wireguard.udp import UdpTransport

    return UdpTransport(context)


@hookimpl
def ghostwire_tunnels() -> Iterator[Provider[Tunnel]]:
    """WireGuard in this process, over the platform's TUN device."""
    yield Provider("userspace", _tunnel)


@hookimpl
def ghostwire_transports() -> Iterator[Provider[Transport]]:
    """Sealed datagrams straight to the peer's UDP port."""
    yield Provider("udp", _transport, rank=0)


def conformance(capability: str) -> type[object] | None:
    """The rules by which ``pytest --ghostwire-conformance`` judges this plugin."""
    if capability != "transport":
        return None
    from ghostwire_transport_wireguard.conformance import UdpContract

    return UdpContract
