"""Takes secrets out of what is handed to strangers: by the names of keys, and by what texts look like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "(hidden)"
_NAMES = "secret|passw|passphrase|token|credential|private|psk|cookie|authorization|api_?key|dsn|mesh_key"
_NAME = re.compile(rf"({_NAMES})|(^|_)(pin|auth)$", re.IGNORECASE)
_PATTERNS = (
    (re.compile(r"-----BEGIN [^-]*PRIVATE KEY-----.*?(-----END [^-]*-----|\Z)", re.DOTALL), HIDDEN),
    (re.compile(r"gwjoin-[\w-]*"), HIDDEN),
    (re.compile(r"(?i)(\w+://)[^\s\"']+@"), rf"\1{HIDDEN}@"),  # to the last @: a password may have its own
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), rf"\1 {HIDDEN}"),
    (re.compile(rf"(?i)([\w-]*(?:{_NAMES})[\w-]*[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&]+)"), rf"\1{HIDDEN}"),
    (re.compile(r"\b(privkey:)[0-9a-f]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?<![\w:#+/-])[A-Za-z0-9+/_-]{40,}={0,2}(?![\w+/-])"), HIDDEN),
)
"""Private keys, join tokens, passwords in URLs, logins, named secrets, long texts that no public prefix explains."""


def redact(value: Any) -> Any:
    """The same plain values without what is or looks like a secret."""
    if isinstance(value, Mapping):
        return {
            str(key): HIDDEN if _NAME.search(str(key)) and _tells(inner) else redact(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact(each) for each in value]
    return redact_text(value) if isinstance(value, str) else value


def redact_text(text: str) -> str:
    """The text with everything that looks like a secret hidden."""
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def hide_texts(value: Any) -> Any:
    """Numbers and switches alone: for settings of which nobody here knows what they mean."""
    if isinstance(value, Mapping):
        return {str(key): hide_texts(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [hide_texts(each) for each in value]
    return value if isinstance(value, bool | float) or value is None else value if _small(value) else HIDDEN


def _small(value: Any) -> bool:
    """Port numbers and counts, not codes."""
    return isinstance(value, int) and abs(value) < 100_000


def _tells(value: Any) -> bool:
    """Whether hiding it is worth a word: switches and empty values are no secrets."""
    return bool(value) and not isinstance(value, bool)
