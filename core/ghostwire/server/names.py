"""Node names: DNS labels made of what a machine calls itself, each held by one node."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

MAX_LABEL = 63
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUFFIX_ROOM = 8


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
