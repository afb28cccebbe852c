"""What a process and its children use, by the kernel's account."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")


def family(pid: int) -> Iterator[int]:
    """The process and all that it started."""
    yield pid
    for task in (PROC / str(pid) / "task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def rss(pid: int) -> float:
    """Resident memory in MB (millions of bytes), summed over the family."""
    return sum(_resident(member) for member in family(pid)) / 1e6


def cpu_share(pid: int, seconds: float) -> float:
    """Per cent of one core that the family uses over so many seconds from now."""
    before, began = cpu_time(pid), time.monotonic()
    time.sleep(seconds)
    after, ended = cpu_time(pid), time.monotonic()
    return (after - before) / 1e9 / (ended - began) * 100


def cpu_time(pid: int) -> int:
    """Nanoseconds that the family has used a core."""
    return sum(map(_cpu_time, family(pid)))


def _resident(pid: int) -> int:
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    return 0


def _cpu_time(pid: int) -> int:
    """Nanoseconds on a core, of all threads."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in (PROC / str(pid) / "task").iterdir())
