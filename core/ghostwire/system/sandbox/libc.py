"""The few kernel calls that Python has no function for, by ctypes."""

from __future__ import annotations

import ctypes
import os
from typing import Final

LANDLOCK_CREATE_RULESET: Final = 444
LANDLOCK_ADD_RULE: Final = 445
LANDLOCK_RESTRICT_SELF: Final = 446
CLOSE_RANGE: Final = 436
"""Calls newer than 5.1 have one number on every processor that Linux runs on, but for Alpha."""


class Libc:
    """Every method raises OSError where the kernel refuses or has no such call (ENOSYS)."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)

    def syscall(self, number: int, *arguments: int | bytes) -> int:
        """A call by its number; bytes are passed by address, integers as long."""
        made = [a if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments]
        return self._checked(self._library.syscall(ctypes.c_long(number), *made))

    def prctl(self, operation: int, *arguments: int | bytes) -> int:
        """prctl(2), which is refused unless the arguments that it does not use are 0."""
        made = [a if isinstance(a, bytes) else ctypes.c_ulong(a) for a in (*arguments, *[0] * (4 - len(arguments)))]
        return self._checked(self._library.prctl(ctypes.c_int(operation), *made))

    def capset(self, header: bytes, data: bytes) -> int:
        """capset(2)."""
        return self._checked(self._library.capset(header, data))

    def install_filter(self, program: bytes) -> None:
        """Give this thread a seccomp filter, struct sock_filter after struct sock_filter."""
        code = ctypes.create_string_buffer(program, len(program))
        head = _Program(len(program) // 8, ctypes.addressof(code))
        self.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(head))

    @staticmethod
    def _checked(answer: int) -> int:
        if answer < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return answer


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
