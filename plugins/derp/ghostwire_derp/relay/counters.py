"""What a relay carried, dropped, refused and closed, as plain ints that the packet path adds to."""

from __future__ import annotations

from functools import partial
from typing import Final

from ghostwire import Metrics

WORK: Final = {
    "accepts": "Streams taken.",
    "logins": "Logins admitted.",
    "frames": "Frames of clients, of all kinds.",
    "received_bytes": "Bytes read from clients and relays.",
    "sent_bytes": "Bytes written to clients and relays.",
    "packets": "Packets passed on to clients of this process.",
    "forwarded": "Packets passed on to other relays.",
    "preferred": "Times that a client called this relay its home.",
}
"""What was done."""
DROPS: Final = {
    "unknown_destination": "Packets for a key that is connected nowhere.",
    "unknown_forwarded": "Packets of another relay for a key that is not connected here.",
    "queue_head": "Packets dropped, oldest first, for a reader too slow for them.",
    "queue_disco": "The same of path-discovery packets, which have a queue of their own.",
    "gone": "Packets that waited for a client when it went.",
    "pings": "Pings unanswered, as the answer to an earlier one still waits.",
}
"""Why packets were dropped."""
REFUSALS: Final = {
    "full": "Streams above what the relay or one address may have.",
    "malformed": "Logins that are none.",
    "forged": "Logins whose sender does not hold the key.",
    "mesh_key": "Logins with a wrong mesh key.",
    "not_admitted": "Logins of keys that are not of this mesh.",
    "late": "Logins that did not come in time.",
    "displaced": "Streams without a login that made room for newer ones.",
}
"""Why streams were closed before they were clients'."""
CLOSES: Final = {
    "violation": "Clients closed for an oversized or a forbidden frame, or a flood of frames that are no packets.",
    "duplicate": "Clients closed as their key has too many connections: those that sent least lately.",
    "slow": "Clients closed as nothing could be written to them for too long.",
    "removed": "Clients closed as their key, or the mesh key of a relay, is admitted no longer.",
    "ordered": "Clients closed at another relay's word.",
}
"""Why clients were closed."""
_GROUPS: Final = {"": WORK, "dropped_": DROPS, "refused_": REFUSALS, "closed_": CLOSES}


class Counters:
    """One int for each of the above, named with its group: ``packets``, ``dropped_gone``, ``refused_full``."""

    __slots__ = (
        "accepts",
        "closed_duplicate",
        "closed_ordered",
        "closed_removed",
        "closed_slow",
        "closed_violation",
        "dropped_gone",
        "dropped_pings",
        "dropped_queue_disco",
        "dropped_queue_head",
        "dropped_unknown_destination",
        "dropped_unknown_forwarded",
        "forwarded",
        "frames",
        "logins",
        "packets",
        "preferred",
        "received_bytes",
        "refused_displaced",
        "refused_forged",
        "refused_full",
        "refused_late",
        "refused_malformed",
        "refused_mesh_key",
        "refused_not_admitted",
        "sent_bytes",
    )
    accepts: int
    closed_duplicate: int
    closed_ordered: int
    closed_removed: int
    closed_slow: int
    closed_violation: int
    dropped_gone: int
    dropped_pings: int
    dropped_queue_disco: int
    dropped_queue_head: int
    dropped_unknown_destination: int
    dropped_unknown_forwarded: int
    forwarded: int
    frames: int
    logins: int
    packets: int
    preferred: int
    received_bytes: int
    refused_displaced: int
    refused_forged: int
    refused_full: int
    refused_late: int
    refused_malformed: int
    refused_mesh_key: int
    refused_not_admitted: int
    sent_bytes: int

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)

    def add(self, name: str) -> None:
        """One more of a rare thing."""
        setattr(self, name, getattr(self, name) + 1)

    def register(self, metrics: Metrics) -> None:
        """List them as ``ghostwire_relay_<name>_total``."""
        for prefix, group in _GROUPS.items():
            for name, help_ in group.items():
                metrics.counter(f"ghostwire_relay_{prefix}{name}_total", help_, partial(getattr, self, prefix + name))
