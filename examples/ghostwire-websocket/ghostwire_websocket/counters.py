"""What the transport did, as plain ints that the packet path adds to."""

from __future__ import annotations

from functools import partial
from typing import Final

from ghostwire import Metrics

FIELDS: Final = {
    "sent": "Datagrams written to connections.",
    "received": "Datagrams received.",
    "dialled": "Connections that this node made.",
    "accepted": "Connections of nodes that introduced themselves.",
    "failures": "Attempts to connect that came to nothing.",
    "lost": "Connections that ended.",
    "refused": "Accepted connections that ended before an introduction.",
    "displaced": "Accepted connections that made room for others.",
    "dropped_size": "Datagrams not sent because they were empty or over 65,535 bytes.",
    "dropped_queue": "Datagrams not sent because newer ones took their place.",
    "dropped_away": "Datagrams not sent because there was no connection, and none could be made.",
}


class Counters:
    """One int for each of `FIELDS`."""

    __slots__ = tuple(FIELDS)

    sent: int
    received: int
    dialled: int
    accepted: int
    failures: int
    lost: int
    refused: int
    displaced: int
    dropped_size: int
    dropped_queue: int
    dropped_away: int

    def __init__(self) -> None:
        for name in FIELDS:
            setattr(self, name, 0)

    def register(self, metrics: Metrics) -> None:
        """List them as ``ghostwire_plugin_websocket_<field>_total``."""
        for name, help_ in FIELDS.items():
            metrics.counter(f"ghostwire_plugin_websocket_{name}_total", help_, partial(getattr, self, name))
