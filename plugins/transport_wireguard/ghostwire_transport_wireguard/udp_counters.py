"""What the UDP sockets did, as plain ints that the packet path adds to."""

from __future__ import annotations

from functools import partial
from typing import Final

from ghostwire import Metrics
from ghostwire.system.udp import UdpCounts

FIELDS: Final = {
    "received": "Datagrams received.",
    "received_bytes": "Bytes of datagrams received.",
    "sent": "Datagrams sent.",
    "sent_bytes": "Bytes of datagrams handed in for sending.",
    "dropped": "Datagrams not sent: the socket was full or closed, the address unreachable, the size impossible.",
    "refused": "Datagrams received empty, truncated or oversized.",
    "errors": "Errors that reading or writing a socket gave.",
}


class UdpCounters(UdpCounts):
    """One int for each of `FIELDS`."""

    __slots__ = ("dropped", "sent", "sent_bytes")

    def __init__(self) -> None:
        super().__init__()
        self.sent = self.sent_bytes = self.dropped = 0

    def register(self, metrics: Metrics) -> None:
        """List them as ``ghostwire_udp_<field>_total``."""
        for name, help_ in FIELDS.items():
            metrics.counter(f"ghostwire_udp_{name}_total", help_, partial(getattr, self, name))
