"""The text of an IP endpoint, as nodes advertise it: ``192.0.2.1:41641`` or ``[2001:db8::1]:41641``."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

_ENDPOINT = re.compile(r"(?:(\d[\d.]*)|\[([0-9A-Fa-f:.]+)\]):(\d{1,5})", re.ASCII)


def format_endpoint(host: str, port: int) -> str:
    """The text of an address and a port."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_endpoint(text: str) -> tuple[IPv4Address | IPv6Address, int]:
    """Address and port; ValueError says what is wrong with the text."""
    match = _ENDPOINT.fullmatch(text)
    if not match:
        raise ValueError(f"not an endpoint (1.2.3.4:5 or [2001:db8::1]:5 expected): {text[:80]!r}")
    host = IPv4Address(match[1]) if match[1] else IPv6Address(match[2])
    port = int(match[3])
    if not 0 < port < 65_536:
        raise ValueError(f"no such port: {text!r}")
    return host, port
