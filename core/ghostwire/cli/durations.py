"""Lengths of time as people type them."""

from __future__ import annotations

import re

from ghostwire.errors import UsageError

DIGITS = 9
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def seconds(option: str, text: str) -> int:
    """``90s``, ``30m``, ``1h``, ``7d``, ``2w`` in seconds; UsageError for anything else, naming the option."""
    match = re.fullmatch(r"([0-9]+)([smhdw]?)", text.strip(), re.ASCII)
    if match is None:
        raise UsageError(f"{option} {text}: give a number and s, m, h, d or w, for instance 30m")
    if len(match[1]) > DIGITS or int(match[1]) == 0:
        raise UsageError(f"{option} {text}: give at least 1 s, and at most {DIGITS} digits")
    return int(match[1]) * _UNITS[match[2] or "s"]
