"""What this process may take of memory, descriptors, files and processors."""

from __future__ import annotations

import os
import resource
from typing import Final

LIBRARIES: Final = 512 << 20
"""Bytes of address space above the memory limit: code of libraries, and what threads reserve without using it."""
DESCRIPTORS: Final = 256
FILE: Final = 64 << 20
"""Bytes of the largest file it may write."""
THREADS: Final = 64
"""Processes and threads of an own user; another user's are not counted apart from this process's."""


def set_limits(memory: int, *, own_user: bool) -> None:
    """``memory`` in bytes: heap and private mappings to it, the whole address space to `LIBRARIES` more."""
    limits = {
        resource.RLIMIT_DATA: memory,
        resource.RLIMIT_AS: memory + LIBRARIES,
        resource.RLIMIT_NOFILE: DESCRIPTORS,
        resource.RLIMIT_FSIZE: FILE,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NICE: 0,
        resource.RLIMIT_RTPRIO: 0,
    }
    if own_user:
        limits[resource.RLIMIT_NPROC] = THREADS
    for kind, amount in limits.items():
        _lower(kind, amount)


def be_nice(nice: int) -> None:
    """Run behind others of this machine; the loss of processors can't be taken back without rights."""
    os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))


def _lower(kind: int, amount: int) -> None:
    hard = resource.getrlimit(kind)[1]
    bound = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
    resource.setrlimit(kind, (bound, bound))
