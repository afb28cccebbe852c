"""What the transport did, as plain ints that the packet path adds to."""

from __future__ import annotations

from functools import partial
from typing import Final

from ghostwire import Metrics

FIELDS: Final = {
    "sent": "Datagrams handed to relays.",
    "sent_bytes": "Bytes of datagrams handed to relays.",
    "received": "Datagrams received through relays.",
    "received_bytes": "Bytes of datagrams received through relays.",
    "connects": "Logins at relays.",
    "lost": "Connections that broke.",
    "failures": "Attempts to connect that did not end in a login.",
    "refused": "Attempts that a relay, or this node's check of it, refused.",
    "dropped_backlog": "Datagrams not sent because a connection was full.",
    "dropped_queue": "Datagrams not sent because too many waited for a connection.",
    "dropped_away": "Datagrams not sent because no relay of the region could be reached.",
    "dropped_region": "Datagrams not sent because no region is known for them.",
    "dropped_size": "Datagrams not sent because DERP carries none so large.",
    "dropped_rate": "Datagrams not sent because of the rate that a relay asked for.",
}


class Counters:
    """One int for each of `FIELDS`."""

    __slots__ = tuple(FIELDS)

    sent: int
    sent_bytes: int
    received: int
    received_bytes: int
    connects: int
    lost: int
    failures: int
    refused: int
    dropped_backlog: int
    dropped_queue: int
    dropped_away: int
    dropped_region: int
    dropped_size: int
    dropped_rate: int

    def __init__(self) -> None:
        for name in FIELDS:
            setattr(self, name, 0)

    def register(self, metrics: Metrics) -> None:
        """List them as ``ghostwire_derp_client_<field>_total``."""
        for name, help_ in FIELDS.items():
            metrics.counter(f"ghostwire_derp_client_{name}_total", help_, partial(getattr, self, name))
