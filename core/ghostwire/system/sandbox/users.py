"""A numeric user of its own for each plugin, of those that nobody else has."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

FIRST: Final = 61184
LAST: Final = 65519
"""The range that systemd sets apart for users without names."""


def own_user(plugin: str) -> int | None:
    """A user and group id for this plugin, the same each time unless it is taken; None unless we are root.

    Called in the parent: processes that it started itself do not count as others.
    """
    if os.geteuid() != 0:
        return None
    taken = set(_running(os.getpid()))
    return next((user for user in candidates(plugin) if user not in taken and not _named(user)), None)


def candidates(plugin: str) -> Iterator[int]:
    """Every id of the range once, beginning where the plugin's name says."""
    count = LAST - FIRST + 1
    start = int.from_bytes(hashlib.sha256(plugin.encode()).digest()[:8], "big")
    return (FIRST + (start + step) % count for step in range(count))


def _named(number: int) -> bool:
    with suppress(KeyError):
        return bool(pwd.getpwuid(number))
    with suppress(KeyError):
        return bool(grp.getgrgid(number))
    return False


def _running(parent: int) -> Iterator[int]:
    """Users of all processes but the children of ``parent``."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            lines = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
            if int(lines.get("PPid", "0")) != parent:
                yield int(lines["Uid"].split()[0])
