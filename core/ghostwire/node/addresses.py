"""Which IP address an endpoint's text leads to, as far as that shows, whatever transport reads it.

    192.0.2.1:443   [2001:db8::1]:443   192.0.2.1#tail   wss://user@192.0.2.1/path   wss://localhost   127.1:80

This is laxer than `ghostwire.wire.endpoint`, for what some transport or C library reads as an address must not slip
through. Where a name leads cannot be seen.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
REMEMBERED = 1_024


@lru_cache(REMEMBERED)
def address_of(text: str) -> Address | None:
    """The address of an endpoint's host; None where there is none to be seen."""
    for host in _hosts(text.partition("#")[0].strip()):
        address = _address(unicodedata.normalize("NFKC", host).replace("。", ".").rstrip("."), "//" in text)
        if address is not None:
            return getattr(address, "ipv4_mapped", None) or address
    return None


def is_reachable(address: Address) -> bool:
    """Whether a peer elsewhere may live there: no loopback, link-local, group, broadcast or unspecified address."""
    unusable = (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or (address.version == 4 and address.is_reserved)
    )
    return not unusable


def _hosts(text: str) -> Iterator[str]:
    """What may be the host: that of a URL, what stands before the last colon, all of it."""
    with suppress(ValueError):  # brackets that do not fit, or letters that look like delimiters
        yield urlsplit(text if "//" in text else f"//{text}").hostname or ""
    yield text.rpartition(":")[0].strip("[]")
    yield text.strip("[]")


def _address(host: str, in_url: bool) -> Address | None:
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 section 6.3
        return IPv4Address("127.0.0.1")
    try:
        return ip_address(host)
    except ValueError:
        return _traditional(host) if in_url or "." in host else None


def _traditional(host: str) -> IPv4Address | None:
    """What inet_aton reads: up to four numbers, also octal and hexadecimal, the last of which fills what is left."""
    try:
        *first, last = (_number(part) for part in host.lower().split("."))
    except ValueError:
        return None
    left = 4 - len(first)
    if left < 1 or last >= 256**left or any(each > 255 for each in first):
        return None
    return IPv4Address(bytes(first) + last.to_bytes(left))


def _number(text: str) -> int:
    """As C writes them; ValueError where it is none, or far too large."""
    if not (text.isascii() and text.isalnum() and len(text) <= 40):
        raise ValueError("no number")
    if text.startswith("0x"):
        return int(text, 16)
    return int(text, 8 if text.startswith("0") else 10)
