"""How much one source may ask: a token bucket for each, of a bounded number of sources."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address

from ghostwire.engine import SECOND

MAX_SOURCES = 16_384
_SITE_BYTES = 7
"""A /56: what an IPv6 customer has to send from."""


class SourceBuckets:
    """``burst`` at once from one source, then ``rate`` a second.

    A source is an IPv4 address or an IPv6 /56. Where there are more than ``sources`` of them, whoever has not asked
    for the longest time is forgotten, and begins anew with a full bucket.
    """

    def __init__(self, *, rate: int, burst: int, sources: int = MAX_SOURCES) -> None:
        self._interval = SECOND // rate
        self._slack = (burst - 1) * self._interval
        self._sources = sources
        self._full_at: OrderedDict[str | bytes, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, address: str, now: int) -> bool:
        """Count one attempt at ``now`` (nanoseconds); False where the source's bucket is empty."""
        source = source_of(address)
        full_at = max(now, self._full_at.get(source, 0))
        allowed = full_at - now <= self._slack
        self._full_at[source] = full_at + self._interval if allowed else full_at
        self._full_at.move_to_end(source)
        if len(self._full_at) > self._sources:
            self._full_at.popitem(last=False)
        return allowed


def source_of(address: str) -> str | bytes:
    """What counts as one source: an IPv4 address itself, the first 56 bits of an IPv6 one."""
    if ":" not in address:
        return address
    parsed = IPv6Address(address.partition("%")[0])
    return str(parsed.ipv4_mapped) if parsed.ipv4_mapped else parsed.packed[:_SITE_BYTES]
