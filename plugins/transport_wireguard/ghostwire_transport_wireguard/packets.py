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
    last: tuple[int, int] | None = None
    run: list[Buffer] | None = None
    for packet in packets:
        size = len(packet)
        if not IPV4_BYTES <= size <= mtu:
            _count_size(size, mtu, counters)
            continue
        header = _IPV4_ROUTE(packet)
        if header != last:
            address = _destination(packet, *header)
            if address is None:
                counters.bad_packet += 1
                continue
            last = header if type(address) is int else None
            owner = routes.lookup(address)
            run = None if owner is None else runs.setdefault(owner, [])
        if run is None:
            counters.no_peer += 1
        else:
            run.append(packet)
    return runs


def _destination(packet: Buffer, first: int, address: int) -> int | bytes | None:
    if first >> 4 == 4:
        return address
    return bytes(packet[24:40]) if first >> 4 == 6 and len(packet) >= IPV6_BYTES else None


def _count_size(size: int, mtu: int, counters: Counters) -> None:
    if size > mtu:
        counters.oversized += 1
    else:
        counters.bad_packet += 1


def from_owner(
    packets: Sequence[bytes],
    owner: T,
    routes: AllowedIps[T],
    counters: Counters,
    accepted: AllowedIps[T] | None = None,
) -> list[Buffer]:
    """Arrived packets whose source is the owner's, cut to their length; keepalives vanish, the others are counted.

    Those of ``accepted`` prefixes are taken too, where no longer prefix makes them another's.
    """
    fitting: list[Buffer] = []
    last: int | bytes = -1
    allowed = False
    for packet in packets:
        size = len(packet)
        if size < IPV4_BYTES:
            counters.bad_packet += size > 0
            continue
        first, length, address = _IPV4_ORIGIN(packet)
        if first >> 4 != 4:
            address, length = _ipv6_origin(packet, first)
        if not IPV4_BYTES <= length <= size:
            counters.bad_packet += 1
            continue
        if address != last:
            last, allowed = address, routes.lookup(address) is owner or _is_accepted(address, routes, accepted)
        if allowed:
            fitting.append(packet if length == size else packet[:length])
        else:
            counters.bad_source += 1
    return fitting


def _is_accepted(address: int | bytes, routes: AllowedIps[T], accepted: AllowedIps[T] | None) -> bool:
    return accepted is not None and bool(address) and 0 <= accepted.length(address) >= routes.length(address)


def _ipv6_origin(packet: bytes, first: int) -> tuple[bytes, int]:
    """Source address and length of a packet; length 0 where it is none."""
    if first >> 4 != 6 or len(packet) < IPV6_BYTES:
        return b"", 0
    payload, source = _IPV6_ORIGIN(packet)
    return source, IPV6_BYTES + payload
