"""Node names: DNS labels made of what a machine calls itself, each held by one node; and e-mail addresses."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

MAX_LABEL = 63
LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
NAME = f"(?![0-9]+$){LABEL}"
"""A label that is no id."""
_UNSEEN = (
    "\\x00-\\x1f\\x7f-\\xa0\\xad\\u0600-\\u0605\\u061c\\u06dd\\u070f\\u1680\\u180e\\u2000-\\u200f\\u2028-\\u202f"
    "\\u205f-\\u206f\\u3000\\ufeff\\ufff9-\\ufffb"
)
"""Characters that no line has: controls, formats, and spaces other than the one."""
LINE = f"[^ {_UNSEEN}]([^{_UNSEEN}]{{0,62}}[^ {_UNSEEN}])?"
"""What people call things: 1 to 64 characters that are seen, spaces between them alone."""
LINE_NOT_ID = f"(?![0-9]+$){LINE}"
NOTE = f"[^{_UNSEEN}]{{0,200}}"
_LOCAL_CHARACTERS = "[A-Za-z0-9!#$%&'+/=?^_`{|}~-]+"
_ANY_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
EMAIL = f"(?=.{{3,254}}$)(?=[^@]{{1,64}}@){_LOCAL_CHARACTERS}(\\.{_LOCAL_CHARACTERS})*@{_ANY_LABEL}(\\.{_ANY_LABEL})*"
_LABEL = re.compile(LABEL)
_SUFFIX_ROOM = 8
_EMAIL = re.compile(EMAIL)
"""At most 64 characters before the @, 254 in all (RFC 5321)."""


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
    if _EMAIL.fullmatch(text) is None:
        raise ValueError("not an e-mail address")
    return text.lower()
