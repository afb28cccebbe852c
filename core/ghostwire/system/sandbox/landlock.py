"""Landlock: which files this process and its threads may open, and whom they may reach (kernel's landlock.h)."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterable
from typing import Final

from ghostwire.system.sandbox.libc import LANDLOCK_ADD_RULE, LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF, Libc

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_DIR, MAKE_REG = 1 << 7, 1 << 8
REFER, TRUNCATE, IOCTL_DEV = (1 << bit for bit in range(13, 16))
BIND_TCP, CONNECT_TCP = 1, 2
SCOPE_ABSTRACT_UNIX, SCOPE_SIGNAL = 1, 2

READ: Final = READ_FILE | READ_DIR
WRITE: Final = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
"""No symbolic links, sockets, pipes or devices: what lies in the folder is later handled by its owner."""
OF_FILES: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

NET_SINCE, SCOPES_SINCE = 4, 6
_CREATE_RULESET_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1


class Ruleset:
    """Everything is refused but what `allow` named, from `enforce` on. OSError where the kernel has no Landlock."""

    def __init__(self, libc: Libc) -> None:
        self._libc = libc
        self.version = libc.syscall(LANDLOCK_CREATE_RULESET, 0, 0, _CREATE_RULESET_VERSION)
        self._handled = _files(self.version)
        attributes = struct.pack(
            "=QQQ",
            self._handled,
            (BIND_TCP | CONNECT_TCP) if self.version >= NET_SINCE else 0,
            (SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL) if self.version >= SCOPES_SINCE else 0,
        )[: _size(self.version)]
        self._descriptor = libc.syscall(LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)

    def allow(self, path: str, access: int) -> None:
        """Allow it for a file or a whole folder; one that is not there is passed over."""
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            self.allow_descriptor(descriptor, access)
        finally:
            os.close(descriptor)

    def allow_descriptor(self, descriptor: int, access: int) -> None:
        """Allow it for what an open descriptor refers to."""
        access &= self._handled
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            access &= OF_FILES
        rule = struct.pack("=Qi", access, descriptor)
        self._libc.syscall(LANDLOCK_ADD_RULE, self._descriptor, _RULE_PATH_BENEATH, rule, 0)

    def enforce(self) -> None:
        """From now on, for good; needs no_new_privileges before it."""
        self._libc.syscall(LANDLOCK_RESTRICT_SELF, self._descriptor, 0)
        os.close(self._descriptor)


def prepare(readable: Iterable[str], folder: int | None, libc: Libc) -> Ruleset:
    """The rules of a confined process: read these, write in that folder, and the two devices that harm nobody."""
    rules = Ruleset(libc)
    for path in readable:
        rules.allow(path, READ)
    rules.allow("/dev/urandom", READ_FILE)
    rules.allow("/dev/null", READ_FILE | WRITE_FILE)
    if folder is not None:
        rules.allow_descriptor(folder, WRITE)
    return rules


def reason(error: OSError) -> str:
    """Why Landlock is not there, for people."""
    known = {
        errno.ENOSYS: "this kernel has no Landlock (5.13 or later has it)",
        errno.EOPNOTSUPP: "Landlock is switched off (kernel parameter lsm=)",
    }
    return known.get(error.errno or 0, f"the kernel refuses Landlock: {error.strerror}")


def _files(version: int) -> int:
    """Rights over files that this version of Landlock knows."""
    bits = {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)
    return (1 << bits) - 1


def _size(version: int) -> int:
    """Bytes of struct landlock_ruleset_attr in this version."""
    return 8 if version < NET_SINCE else 16 if version < SCOPES_SINCE else 24
