"""Giving up rights: another user, no groups, no capabilities, none to be gained, and an end with the parent."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from ghostwire.system.sandbox.libc import Libc

CAP_DAC_READ_SEARCH: Final = 2
LAST_CAPABILITY: Final = 63

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_KEEPCAPS: Final = 8
_PR_CAPBSET_DROP: Final = 24
_PR_SET_SECUREBITS: Final = 28
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_SECURE_BITS: Final = 0b11000011
"""SECBIT_NOROOT and SECBIT_NO_CAP_AMBIENT_RAISE, both locked: being root gives no capability, nor is any inherited."""
_CAPABILITY_VERSION_3: Final = 0x20080522


def drop_bounding(libc: Libc) -> None:
    """Empty the sets that programs started later would draw on; without CAP_SETPCAP there is nothing to draw."""
    with suppress(OSError):
        libc.prctl(_PR_SET_SECUREBITS, _SECURE_BITS)
    for capability in range(LAST_CAPABILITY + 1):
        with suppress(OSError):
            libc.prctl(_PR_CAPBSET_DROP, capability)
    with suppress(OSError):
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)


def become(user: int, libc: Libc) -> None:
    """Be user and group ``user`` with no other group, capabilities permitted but none in effect; OSError."""
    os.setgroups([])
    os.setresgid(user, user, user)
    libc.prctl(_PR_SET_KEEPCAPS, 1)
    os.setresuid(user, user, user)


def drop_capabilities(libc: Libc, keep: int | None = None) -> None:
    """Have no capability but ``keep``, for good."""
    mask = 0 if keep is None else 1 << keep
    libc.capset(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), struct.pack("=6I", mask, mask, 0, 0, 0, 0))


def closed_to_us(paths: Iterable[str]) -> str | None:
    """The first of the paths, all there, that this process as it is now can't read, if any."""
    return next((path for path in paths if not os.access(path, os.R_OK, effective_ids=True)), None)


def no_new_privileges(libc: Libc) -> None:
    """Set-user-id programs and the like give nothing any more."""
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1)


def not_dumpable(libc: Libc) -> None:
    """No core, and others of the same user can't look inside."""
    libc.prctl(_PR_SET_DUMPABLE, 0)


def die_with_parent(parent: int, libc: Libc) -> None:
    """Be killed when the parent's thread that started us ends; a change of user would undo it, so it comes after.

    ``parent`` is its process id: where that is gone already this process ends here.
    """
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
