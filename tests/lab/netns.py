"""Network namespaces by name: switch a thread into one, make sockets there, run commands."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNET = 0x40000000
NAMED = Path("/run/netns")
RESOLVERS = Path("/etc/netns")
_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def in_netns(name: str) -> Iterator[None]:
    """Switch this thread into a namespace; never await inside. Sockets made inside stay there for good."""
    old = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        new = os.open(NAMED / name, os.O_RDONLY)
        try:
            _setns(new)
        finally:
            os.close(new)
        try:
            yield
        finally:
            _setns(old)
    finally:
        os.close(old)


def sh(command: list[str], stdin: str | None = None) -> str:
    """Run a command to its end; RuntimeError with its error text and its input where it fails."""
    done = subprocess.run(command, input=stdin, text=True, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}\n{stdin or ''}")
    return done.stdout


def why_not() -> str:
    """Why no namespaces can be made here; empty where they can."""
    for program in ("ip", "nft"):
        if not shutil.which(program):
            return f"needs the program {program}: apt-get install --no-install-recommends iproute2 nftables"
    if os.geteuid() != 0:
        return "needs root, or a user namespace: scripts/as-root pytest tests/lab"
    return _probe()


def _probe() -> str:
    """A user namespace's root may not write the host's /run: it gets one of its own (its mounts are private)."""
    if not os.access("/run", os.W_OK):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], capture_output=True)
    name = f"gwp{os.getpid()}x-probe"
    made = subprocess.run(["ip", "netns", "add", name], text=True, capture_output=True)
    if made.returncode:
        return f"cannot make network namespaces: {made.stderr.strip()}"
    sh(["ip", "netns", "del", name])
    return ""


def why_no_tun() -> str:
    """Why no TUN device can be made here; empty where one can."""
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return f"needs /dev/net/tun: {error.strerror}"
    return ""


def remove(names: list[str]) -> None:
    """Take namespaces and their resolver files away; those that are gone already are no error."""
    have = set(os.listdir(NAMED)) if NAMED.is_dir() else set()
    mine = [name for name in names if name in have]
    if mine:
        sh(["ip", "-batch", "-"], "".join(f"netns del {name}\n" for name in mine))
    for name in names:
        shutil.rmtree(RESOLVERS / name, ignore_errors=True)


def clean_leftovers() -> list[str]:
    """Remove what labs of dead processes left (names are gwp<pid>x<n>-...), with the processes inside."""
    gone = []
    for name in os.listdir(NAMED) if NAMED.is_dir() else []:
        owner = re.match(r"gwp(\d+)x\d+-", name)
        if owner and not os.path.exists(f"/proc/{owner[1]}"):
            for pid in sh(["ip", "netns", "pids", name]).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            gone.append(name)
    remove(gone)
    return gone
