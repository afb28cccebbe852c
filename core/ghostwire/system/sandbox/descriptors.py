"""Closing what this process inherited and was not meant to have."""

from __future__ import annotations

import os
import resource
from collections.abc import Collection, Iterator

from ghostwire.system.sandbox.libc import CLOSE_RANGE, Libc

LAST = 2**32 - 1
"""The highest number that the kernel's close_range takes."""


def close_others(keep: Collection[int], libc: Libc) -> None:
    """Close every descriptor that is not in ``keep``."""
    for first, last in gaps(keep):
        try:
            libc.syscall(CLOSE_RANGE, first, last, 0)
        except OSError:
            _close_one_by_one(first, last)


def gaps(keep: Collection[int]) -> Iterator[tuple[int, int]]:
    """The ranges (first, last) between the kept numbers."""
    first = 0
    for number in sorted(set(keep)):
        if first < number:
            yield first, number - 1
        first = number + 1
    yield first, LAST


def _close_one_by_one(first: int, last: int) -> None:
    """For kernels before 5.9."""
    try:
        opened = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        opened = list(range(resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    for number in opened:
        if first <= number <= last:
            os.closerange(number, number + 1)
