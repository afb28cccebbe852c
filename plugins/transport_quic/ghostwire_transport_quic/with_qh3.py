"""qh3 behind `Library`; the one place that reads its private attributes."""

from __future__ import annotations

from typing import Any

import qh3.quic.configuration
import qh3.quic.connection
import qh3.quic.packet
import qh3.tls

from ghostwire_transport_quic.certificate import spki_pin
from ghostwire_transport_quic.family import SHORT_QUEUE, Family, FamilyConnection
from ghostwire_transport_quic.keyfile import Credentials
from ghostwire_transport_quic.library import PACKET
from ghostwire_transport_quic.remote import Address

FAILURES = 64
"""How often in a row building a packet may fail before the connection is given up."""


class Qh3Connection(FamilyConnection):
    """Packets are built and read in Rust; its TLS is Python's."""

    _failures = 0

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.receive = inner.receive_many_datagrams

    def room(self) -> int:
        """See `Connection`."""
        core: Any = self._inner._core
        free: int = (core.congestion_window - core.bytes_in_flight) // PACKET
        return min(free, SHORT_QUEUE)

    def transmit(self, now: float) -> list[tuple[bytes, Address]]:
        """See `Connection`. Where what waits leaves its builder no room behind what it repeats, it gives up and goes on
        at a later call: what it built before must not be lost."""
        found: list[tuple[bytes, Address]] = []
        core = self._inner._core
        while core is not None:
            try:
                made = core.poll_transmit(now)
            except RuntimeError:
                self._failures += 1
                if self._failures >= FAILURES:
                    raise
                break
            if made is None:
                break
            self._failures = 0
            found.append((made[0], made[1]))
        return found

    def pin(self) -> bytes | None:
        """See `Connection`."""
        shown = self._inner.get_peercert()
        return None if shown is None else spki_pin(shown.public_bytes())


class Qh3(Family):
    """A fork of aioquic with its hot paths in Rust."""

    name = "qh3"
    wrap = Qh3Connection

    def __init__(self, credentials: Credentials) -> None:
        quic = qh3.quic
        modules = {"configuration": quic.configuration, "connection": quic.connection, "packet": quic.packet}
        super().__init__(credentials, modules | {"tls": qh3.tls}, probe_datagram_size=False)
