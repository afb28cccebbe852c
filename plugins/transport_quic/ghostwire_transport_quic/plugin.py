"""What transport_quic offers: the `quic` transport."""

from __future__ import annotations

from collections.abc import Iterator

from ghostwire import Provider, Transport, TransportContext, hookimpl
from ghostwire_transport_quic.settings import Settings

LIBRARIES = ("cryptography",)

__all__ = ["LIBRARIES", "Settings"]


def _transport(context: TransportContext) -> Transport:
    from ghostwire_transport_quic.transport import QuicTransport

    return QuicTransport(context)


@hookimpl
def ghostwire_transports() -> Iterator[Provider[Transport]]:
    """Sealed datagrams in QUIC, for networks that let nothing else pass."""
    yield Provider("quic", _transport, rank=10)


def conformance(capability: str) -> type[object] | None:
    """The rules by which ``pytest --ghostwire-conformance`` judges this plugin."""
    if capability != "transport":
        return None
    from ghostwire_transport_quic.conformance import QuicContract

    return QuicContract
