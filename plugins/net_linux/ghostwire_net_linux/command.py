"""Runs what configures this machine in processes of their own: the configuring child, and nft(8)."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Sequence

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
    """Status, output and errors of a program; it is killed when it takes too long, or when nobody waits any more.

    A thread waits for it: an event loop gives up no child whose output it stopped reading.
    """
    child = _begin(command, what)
    waiting = asyncio.get_running_loop().run_in_executor(None, _finish, child, given)
    try:
        out, err = await asyncio.shield(waiting)
    except asyncio.CancelledError:
        child.kill()
        await asyncio.wait([waiting])
        raise
    except subprocess.TimeoutExpired:
        raise PlatformError(f"{what}: configuring took over {TIMEOUT:.0f} s") from None
    return child.returncode, out, err


def _begin(command: Sequence[str], what: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
    except OSError as error:
        raise PlatformError(f"{what}: {command[0]} cannot be run: {error.strerror}") from None


def _finish(child: subprocess.Popen[bytes], given: bytes) -> tuple[bytes, bytes]:
    """Output and errors of a child that has ended and is waited for, whatever happened."""
    with child:
        try:
            return child.communicate(given, TIMEOUT)
        finally:
            child.kill()


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
