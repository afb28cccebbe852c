"""The filter of a confined process: `calls` lists what is allowed, here are the calls whose arguments decide."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Final

from ghostwire.system.sandbox.bpf import ALLOW, Rule, Test, assemble, refuse
from ghostwire.system.sandbox.callnumbers import NUMBERS
from ghostwire.system.sandbox.calls import ALLOWED, REFUSED

_MSG_FASTOPEN: Final = 0x20000000
"""connect(2) hidden in a send."""
_AF_UNIX: Final = 1
_SOCKET_TYPES: Final = (1, 5)
"""SOCK_STREAM and SOCK_SEQPACKET: a pair of SOCK_DGRAM could send to any Unix socket by its path."""
_SOCK_FLAGS: Final = 0o2004000
"""SOCK_CLOEXEC | SOCK_NONBLOCK, the same on both processors."""
_OPTIONS_REFUSED: Final = {
    0: (64,),  # IPT_SO_SET_REPLACE
    1: (25, 26, 36, 50, 51, 52, 62),  # SO_BINDTODEVICE, SO_ATTACH_*, SO_MARK, SO_BINDTOIFINDEX
    6: (14, 31, 38),  # TCP_MD5SIG, TCP_ULP, TCP_AO_ADD_KEY
    17: (100,),  # UDP_ENCAP
    41: (64,),  # IP6T_SO_SET_REPLACE
}
"""By level; of other levels no option is set."""
_IOCTLS: Final = (0x5401, 0x5411, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCOUTQ, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: no TIOCSTI, and no FIOSETOWN, which signals."""
_FCNTLS: Final = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032)
"""F_DUPFD, F_*FD, F_*FL, locks, F_OFD_*, F_DUPFD_CLOEXEC, F_GETPIPE_SZ: not F_SETOWN and F_SETSIG."""
_PRCTLS: Final = (2, 3, 15, 16, 21, 23, 39, 0x53564D41)
"""PR_GET_*, PR_*_NAME, PR_CAPBSET_READ, PR_SET_VMA: not PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_PTRACER."""
_CLONE_THREAD: Final = 0x00010000
_CLONE_SEPARATE: Final = 0x7E020080
"""CLONE_NEW* of all kinds."""


def program(machine: str, process: int) -> bytes | None:
    """The filter for a process of this id; None on a processor whose calls are not known here."""
    numbers = NUMBERS.get(machine)
    if numbers is None:
        return None
    checked = list(_checked(process))
    rules = [Rule(numbers[name], ALLOW, tests) for name, tests in checked]
    rules += [Rule(numbers[name], ALLOW) for name in ALLOWED if name in numbers]
    refused = [*dict(checked), *REFUSED]
    rules += [Rule(numbers[name], refuse(errno.EPERM)) for name in refused if name in numbers]
    return assemble(machine, rules, refuse(errno.ENOSYS))


def _checked(process: int) -> Iterator[tuple[str, tuple[Test, ...]]]:
    """Calls allowed only where every test of their arguments passes, those of the packet path first."""
    no_connect = (0,)
    yield "sendmsg", (Test(2, no_connect, _MSG_FASTOPEN),)
    yield "sendto", (Test(3, no_connect, _MSG_FASTOPEN),)
    yield "sendmmsg", (Test(3, no_connect, _MSG_FASTOPEN),)
    for level, options in _OPTIONS_REFUSED.items():
        yield "setsockopt", (Test(1, (level,)), Test(2, options, among=False))
    yield "socketpair", (Test(0, (_AF_UNIX,)), Test(1, _SOCKET_TYPES, 0xFFFFFFFF ^ _SOCK_FLAGS))
    yield "ioctl", (Test(1, _IOCTLS),)
    yield "fcntl", (Test(1, _FCNTLS),)
    yield "prctl", (Test(0, _PRCTLS),)
    yield "clone", (Test(0, (_CLONE_THREAD,), _CLONE_THREAD), Test(0, (0,), _CLONE_SEPARATE))
    yield from ((name, (Test(0, (process,)),)) for name in ("kill", "tkill", "tgkill"))
    yield from ((name, (Test(0, (0, process)),)) for name in ("prlimit64", "sched_setaffinity"))
