"""What this distribution offers: the transport `websocket`."""

from __future__ import annotations

from collections.abc import Iterator

from ghostwire import Provider, Transport, TransportContext, hookimpl
from ghostwire_websocket.settings import Settings

LIBRARIES = ("websockets", "cryptography")

__all__ = ["LIBRARIES", "Settings"]


def _create(context: TransportContext) -> Transport:
    from ghostwire_websocket.transport import WebSocketTransport

    return WebSocketTransport(context)


@hookimpl
def ghostwire_transports() -> Iterator[Provider[Transport]]:
    """Sealed datagrams in WebSocket messages: after everything direct over UDP, before relays."""
    yield Provider("websocket", _create, rank=50)
