"""Runs what configures this machine in processes of their own: the configuring child, and nft(8)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence

import msgspec

from ghostwire.errors import PermissionDenied, PlatformError
from ghostwire_net_linux.configure import Answer, Request
from ghostwire_net_linux.nft import Command

TIMEOUT = 20.0
"""Seconds that configuring an interface may take."""
NFT_PLACES = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin"
"""Where nft is; a service's PATH may lack sbin."""


async def run_child(request: Request) -> Answer:
    """Configure in a child process, which shares our network namespace; raises what it could not do."""
    command = (sys.executable, "-P", "-m", "ghostwire_net_linux.configure")
    what = f"interface {request.interface}" if request.interface else "cleaning up"
    _, out, err = await _run(command, msgspec.json.encode(request), what)
    return _checked(what, out, err)


def nft_path() -> str | None:
    """Where nft(8) is; None where it is not installed."""
    return shutil.which("nft") or shutil.which("nft", path=NFT_PLACES)


async def nft(arguments: Sequence[str], commands: Sequence[Command] = ()) -> bytes:
    """What `nft -j` answers. PlatformError, in one line, where it is missing or the kernel refuses."""
    path = nft_path()
    if path is None:
        raise PlatformError("nft is missing; install nftables")
    given = msgspec.json.encode({"nftables": list(commands)}) if commands else b""
    code, out, err = await _run((path, "-j", *arguments), given, "nft")
    if code:
        lines = [line.strip() for line in err.decode(errors="replace").splitlines() if line.strip()]
        text = next((line for line in lines if "rror" in line), lines[0] if lines else f"status {code}")
        if "not permitted" in text:
            raise PermissionDenied("nft may not change the firewall: run as root or with CAP_NET_ADMIN")
        raise PlatformError(f"nft cannot change the firewall: {text[:200]}")
    return out


async def _run(command: Sequence[str], given: bytes, what: str) -> tuple[int, bytes, bytes]:
    """Status, output and errors of a program; it is killed when it takes too long, or when nobody waits any more."""
    pipe = asyncio.subprocess.PIPE
    with _as_file(given) as stdin:
        child = await asyncio.create_subprocess_exec(*command, stdin=stdin, stdout=pipe, stderr=pipe)
    try:
        out, err = await asyncio.wait_for(child.communicate(), TIMEOUT)
    except BaseException as error:
        if child.returncode is None:
            child.kill()
        await child.wait()
        if not isinstance(error, TimeoutError):
            raise
        raise PlatformError(f"{what}: configuring took over {TIMEOUT:.0f} s") from None
    return child.returncode or 0, out, err


@contextlib.contextmanager
def _as_file(given: bytes) -> Iterator[int]:
    """A file in memory: uvloop's pipes are sockets, and nft opens /dev/stdin by its name, which no socket allows."""
    file = os.memfd_create("given", os.MFD_CLOEXEC)
    try:
        os.write(file, given)
        os.lseek(file, 0, os.SEEK_SET)
        yield file
    finally:
        os.close(file)


def _checked(what: str, out: bytes, err: bytes) -> Answer:
    try:
        answer = msgspec.json.decode(out, type=Answer)
    except msgspec.DecodeError:
        last = err.decode(errors="replace").strip().rpartition("\n")[2] or "no answer"
        raise PlatformError(f"{what}: the configuring child failed: {last[:200]}") from None
    if answer.permission:
        raise PermissionDenied(f"{answer.error}: run as root or with CAP_NET_ADMIN")
    if answer.error:
        raise PlatformError(answer.error)
    return answer
