"""Node names: DNS labels made of what a machine calls itself, each held by one node; and e-mail addresses."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

MAX_LABEL = 63
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUFFIX_ROOM = 8
_LOCAL_PART = re.compile(r"[a-z0-9!#$%&'+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'+/=?^_`{|}~-]+)*")
MAX_LOCAL_PART, MAX_EMAIL = 64, 254
"""Characters of an e-mail address before its @, and at all (RFC 5321)."""


def is_label(text: str) -> bool:
    """Whether it is a DNS label in lower case."""
    return _LABEL.fullmatch(text) is not None


def label(hostname: str) -> str:
    """The DNS label nearest to a host name's first part; ``node`` where nothing is left of it."""
    first = hostname[:255].split(".", 1)[0]
    plain = unicodedata.normalize("NFKD", first).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[: MAX_LABEL - _SUFFIX_ROOM].strip("-") or "node"


def unique(base: str, taken: Callable[[str], bool]) -> str:
    """``base``, or it with a small free number behind; asks O(log n) times for n that are taken."""
    if not taken(base):
        return base
    high = 1
    while taken(f"{base}-{high}"):
        high *= 2
    low = high // 2
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if taken(f"{base}-{middle}") else (low, middle)
    return f"{base}-{high}"


def email_address(text: str) -> str:
    """An e-mail address in lower case, as policies compare them; ValueError where it is none.

    An asterisk, which RFC 5322 would allow, is a wildcard in policies and no part of anybody's address.
    """
    local, at, domain = text.lower().rpartition("@")
    whole = at and len(text) <= MAX_EMAIL and len(local) <= MAX_LOCAL_PART
    if not whole or not _LOCAL_PART.fullmatch(local) or not all(map(is_label, domain.split("."))):
        raise ValueError("not an e-mail address")
    return f"{local}@{domain}"
