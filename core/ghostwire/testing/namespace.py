"""A network namespace for one coroutine, in a forked process: the network of whoever runs tests stays untouched."""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import os
import shutil
import subprocess
import traceback
from collections.abc import Awaitable, Callable

import pytest

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_CANNOT = 77

_LIMIT, _LAST = 30, 50
"""Seconds until the work is cancelled; until its process says where it stands and ends, should that not help."""

Work = Callable[[], Awaitable[None]]


def in_namespace(work: Work) -> None:
    """Run a coroutine function in a new network namespace, as its root; its failure becomes the test's.

    The test is skipped, with the reason, where this machine does not let us.
    """
    if shutil.which("ip") is None or not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("needs iproute2 and the right to open /dev/net/tun")
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        os._exit(_in_child(work, writable))
    os.close(writable)
    with os.fdopen(readable) as report:
        text = report.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == _CANNOT:
        pytest.skip("may not make network namespaces: run it as root")
    if code:
        pytest.fail(f"in the namespace:\n{text}", pytrace=False)


def _in_child(work: Work, writable: int) -> int:
    try:
        if not _enter_namespace():
            return _CANNOT
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        faulthandler.dump_traceback_later(_LAST, exit=True, file=writable)
        asyncio.run(asyncio.wait_for(work(), _LIMIT))
    except BaseException:
        os.write(writable, traceback.format_exc().encode()[-60_000:])
        return 1
    return 0


def _enter_namespace() -> bool:
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET if uid == 0 else _CLONE_NEWNET | _CLONE_NEWUSER):
        return False
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    return True
