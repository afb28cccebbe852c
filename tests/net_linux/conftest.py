"""A throwaway network namespace for each test, in a forked process: the test run's own network stays untouched."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import shutil
import subprocess
import traceback
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ghostwire import Metrics
from ghostwire_net_linux.platform import LinuxPlatform
from ghostwire_net_linux.settings import Settings

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_CANNOT = 77

Work = Callable[[], Awaitable[None]]


def bare_context(**settings: Any) -> Any:
    """What a platform uses of its context."""
    return SimpleNamespace(settings=Settings(**settings), log=logging.getLogger("test"), metrics=Metrics())


def make_platform(**settings: Any) -> LinuxPlatform:
    """A platform with these settings and nothing else around it."""
    return LinuxPlatform(bare_context(**settings))


def ip(*arguments: str) -> str:
    """Run ip(8) in the current namespace and give its output."""
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def in_namespace() -> Callable[[Work], None]:
    """Runs a coroutine function in a new network namespace, as its root; its failure becomes the test's."""
    if shutil.which("ip") is None or not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("needs iproute2 and the right to open /dev/net/tun")
    return _run


def _run(work: Work) -> None:
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
        pytest.skip("may not make network namespaces")
    if code:
        pytest.fail(f"in the namespace:\n{text}", pytrace=False)


def _in_child(work: Work, writable: int) -> int:
    try:
        if not _enter_namespace():
            return _CANNOT
        ip("link", "set", "lo", "up")
        asyncio.run(asyncio.wait_for(work(), 30))
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
