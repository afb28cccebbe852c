"""What the tunnel reads of IP packets: where a leaving one goes, whether an arriving one may come from its peer.

IPv4, 20 bytes and more: version and header length(1) .(1) total length(2) .(8) source(4) destination(4)
IPv6, 40 bytes and more: version(4 bits) .(3.5) payload length(2) .(2) source(16) destination(16)
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, TypeVar

from ghostwire import Buffer
from ghostwire_transport_wireguard.allowed_ips import AllowedIps
from ghostwire_transport_wireguard.counters import Counters

IPV4_BYTES: Final = 20
IPV6_BYTES: Final = 40
_IPV4_ROUTE: Final = struct.Struct("!B15xI").unpack_from
_IPV4_ORIGIN: Final = struct.Struct("!BxH8xI").unpack_from
_IPV6_ORIGIN: Final = struct.Struct("!4xH2x16s").unpack_from

T = TypeVar("T")


def by_destination(
    packets: Sequence[Buffer], routes: AllowedIps[T], mtu: int, counters: Counters
) -> dict[T, list[Buffer]]:
    """Leaving packets by the peer they go to; the others are counted. One lookup per run to one address."""
    runs: dict[T, list[Buffer]] = {}
    last: int | bytes = -1
    run: list[Buffer] | None = None
    for packet in packets:
        size = len(packet)
        if not IPV4_BYTES <= size <= mtu:
            _count_size(size, mtu, counters)
            continue
        version, address = _IPV4_ROUTE(packet)
        version >>= 4
        if version != 4:
            if version != 6 or size < IPV6_BYTES:
                counters.bad_packet += 1
                continue
            address = bytes(packet[24:40])
        if address != last:
            last, owner = address, routes.lookup(address)
            run = None if owner is None else runs.setdefault(owner, [])
        if run is None:
            counters.no_peer += 1
        else:
            run.append(packet)
    return runs


def _count_size(size: int, mtu: int, counters: Counters) -> None:
    if size > mtu:
        counters.oversized += 1
    else:
        counters.bad_packet += 1


def from_owner(packets: Sequence[bytes], owner: T, routes: AllowedIps[T], counters: Counters) -> list[Buffer]:
    """Arrived packets whose source is the owner's, cut to their length; keepalives vanish, the others are counted."""
    fitting: list[Buffer] = []
    last: int | bytes = -1
    allowed = False
    for packet in packets:
        if not packet:
            continue
        address, length = _origin(packet)
        if not length:
            counters.bad_packet += 1
            continue
        if address != last:
            last, allowed = address, routes.lookup(address) is owner
        if allowed:
            fitting.append(packet if length == len(packet) else packet[:length])
        else:
            counters.bad_source += 1
    return fitting


def _origin(packet: bytes) -> tuple[int | bytes, int]:
    """Source address and length of a packet; length 0 where it is none."""
    size = len(packet)
    if size < IPV4_BYTES:
        return 0, 0
    first, length, address = _IPV4_ORIGIN(packet)
    if first >> 4 == 4:
        return address, length if IPV4_BYTES <= length <= size else 0
    if first >> 4 != 6 or size < IPV6_BYTES:
        return 0, 0
    payload, source = _IPV6_ORIGIN(packet)
    return source, IPV6_BYTES + payload if IPV6_BYTES + payload <= size else 0
