"""What the transport counts, every drop by its reason."""

from __future__ import annotations

from functools import partial
from operator import attrgetter

from ghostwire import Metrics
from ghostwire.system.udp import UdpCounts

_COUNTED = {
    "sent": "Datagrams handed to QUIC.",
    "received": "Datagrams that QUIC delivered.",
    "dialled": "Connections dialled.",
    "accepted": "Connections accepted.",
    "resumed": "Connections resumed by a ticket.",
    "dropped_oldest": "Datagrams dropped because fresher ones filled the queue.",
    "dropped_oversize": "Datagrams of an impossible size.",
    "dropped_waiting": "Datagrams whose connection ended or could not be dialled.",
    "dropped_early": "Datagrams that came before the sender had said who it is, and found no room.",
    "dropped_socket": "UDP datagrams that the socket did not take.",
    "refused_pin": "Connections whose certificate is not the one pinned.",
    "refused_strangers": "New connections beyond a limit.",
    "refused_moves": "UDP datagrams that came from another address before a handshake was complete.",
    "refused_hello": "Connections ended for what they sent instead of a hello.",
    "retried": "Strangers asked to prove their address.",
    "udp.errors": "Errors that reading or writing a socket gave.",
    "udp.refused": "UDP datagrams received empty, truncated or oversized.",
    "unknown": "UDP datagrams of no connection.",
    "errors": "Connections ended because the library failed on what it got.",
}


class Counters:
    """Plain numbers, each an attribute named as in `_COUNTED`; those of the sockets in ``udp``."""

    sent = received = dialled = accepted = resumed = 0
    dropped_oldest = dropped_oversize = dropped_waiting = dropped_early = dropped_socket = 0
    refused_pin = refused_strangers = refused_moves = refused_hello = retried = unknown = errors = 0

    def __init__(self) -> None:
        self.udp = UdpCounts()

    def register(self, metrics: Metrics) -> None:
        """As ``ghostwire_quic_*_total``."""
        for name, text in _COUNTED.items():
            read = partial(attrgetter(name), self)
            metrics.counter(f"ghostwire_quic_{name.replace('.', '_')}_total", text, read)
