"""aioquic behind `Library`; the one place that reads its private attributes."""

from __future__ import annotations

from typing import Any

import aioquic.quic.configuration
import aioquic.quic.connection
import aioquic.quic.packet
import aioquic.tls
from cryptography.hazmat.primitives.serialization import Encoding

from ghostwire_transport_quic.certificate import spki_pin
from ghostwire_transport_quic.family import SHORT_QUEUE, Family, FamilyConnection
from ghostwire_transport_quic.keyfile import Credentials
from ghostwire_transport_quic.library import PACKET
from ghostwire_transport_quic.remote import Address


class AioquicConnection(FamilyConnection):
    """Its queue is a deque that one too large datagram would block for ever: sizes are checked before."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._loss, self._pending = inner._loss, inner._datagrams_pending

    def receive(self, datagrams: list[bytes], address: Address, now: float) -> None:
        """See `Connection`."""
        for datagram in datagrams:
            self._inner.receive_datagram(datagram, address, now)

    def room(self) -> int:
        """See `Connection`."""
        free: int = (self._loss.congestion_window - self._loss.bytes_in_flight) // PACKET
        return min(free, SHORT_QUEUE) - len(self._pending)

    def transmit(self, now: float) -> list[tuple[bytes, Address]]:
        """See `Connection`. A large early datagram finds no room behind the first packet, and is not tried again."""
        found: list[tuple[bytes, Address]] = self._inner.datagrams_to_send(now)
        if found and self._pending and not self._inner._handshake_complete:
            found += self._inner.datagrams_to_send(now)
        return found

    def pin(self) -> bytes | None:
        """See `Connection`."""
        shown = self._inner.tls._peer_certificate
        return None if shown is None else spki_pin(shown.public_bytes(Encoding.DER))


class Aioquic(Family):
    """A QUIC library in Python, crypto from `cryptography`."""

    name = "aioquic"
    wrap = AioquicConnection

    def __init__(self, credentials: Credentials) -> None:
        quic = aioquic.quic
        modules = {"configuration": quic.configuration, "connection": quic.connection, "packet": quic.packet}
        super().__init__(credentials, modules | {"tls": aioquic.tls}, congestion_control_algorithm="cubic")
