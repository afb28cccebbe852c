"""Remote ends by name: ``HOST:PORT#HEX``, HEX being the SHA-256 of the SubjectPublicKeyInfo of its certificate."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import NamedTuple

from ghostwire.wire.endpoint import format_endpoint, parse_endpoint

Address = tuple[str, int]
"""Host and port of either family, as text and number."""

PIN_BYTES = 32
_PIN = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Remote(NamedTuple):
    """One remote end: where it was first reached, and whose it is."""

    address: Address
    pin: bytes

    @property
    def text(self) -> str:
        """As it is advertised."""
        return f"{format_endpoint(*self.address)}#{self.pin.hex()}"


def parse_remote(text: str) -> Remote:
    """The remote end of an endpoint's text; ValueError says what was expected."""
    place, _, pin = text.partition("#")
    if not _PIN.fullmatch(pin):
        raise ValueError(f"not an endpoint of quic (HOST:PORT#64 hex digits expected): {text[:120]!r}")
    host, port = parse_endpoint(place)
    if host.is_unspecified or host.is_multicast or str(host) == "255.255.255.255":
        raise ValueError(f"not the address of one machine: {text[:120]!r}")
    if isinstance(host, IPv6Address) and host.ipv4_mapped:
        raise ValueError(f"write an IPv4 address as such: {text[:120]!r}")
    return Remote((str(host), port), bytes.fromhex(pin))
