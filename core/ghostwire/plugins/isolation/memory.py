"""Memory that the daemon shares with one child, and of which the child can take nothing away."""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import Final

from ghostwire.plugins.isolation.ring import COUNTERS

RING_BYTES: Final = COUNTERS + 2 * 1024 * 1024
"""Of one direction: two dozen bursts of full datagrams."""
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def shared() -> int:
    """A descriptor of memory for two rings; it can't be truncated, which would end the daemon by SIGBUS."""
    descriptor = os.memfd_create("ghostwire-isolation", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, 2 * RING_BYTES)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def rings(descriptor: int) -> tuple[memoryview, memoryview]:
    """The memory of both rings, the daemon's to write first; it stays mapped as long as they are in use."""
    both = memoryview(mmap.mmap(descriptor, 2 * RING_BYTES))
    return both[:RING_BYTES], both[RING_BYTES:]
