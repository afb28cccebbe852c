"""Starts a plugin's process: a fresh Python that inherits nothing but its ends of the channel and its folder."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from ghostwire.errors import PlatformError
from ghostwire.plugins.isolation.channel import Channel, pair

COMMAND: Final = (sys.executable, "-I", "-B", "-m", "ghostwire.plugins.isolation.child")
ENVIRONMENT: Final = {"LC_ALL": "C.UTF-8"}
_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Process:
    """A child, to be reaped by `end`. ``output`` is the descriptor of what it prints, -1 where that is not kept."""

    def __init__(self, popen: subprocess.Popen[bytes], channel: Channel, output: int) -> None:
        self._popen, self.channel, self.output = popen, channel, output

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def gone(self) -> bool:
        """Whether it has ended."""
        return self._popen.poll() is not None

    def cost(self) -> tuple[int, int]:
        """Nanoseconds of the processor that it used, and bytes of memory that it holds; zeros where it is gone."""
        with suppress(OSError, IndexError, ValueError):
            folder = Path("/proc", str(self.pid))
            times = folder.joinpath("stat").read_text("ascii", "replace").rpartition(")")[2].split()
            pages = folder.joinpath("statm").read_text("ascii").split()[1]
            return (int(times[11]) + int(times[12])) * _TICK, int(pages) * _PAGE
        return 0, 0

    def how(self) -> str:
        """How it ended."""
        code = self._popen.returncode
        if code is None:
            return "is gone"
        return f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"

    def ended(self, seconds: float) -> str:
        """How it ended, waiting so long for it at most."""
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(max(0.0, min(seconds, 1.0)))
        return self.how()

    def end(self) -> None:
        """Kill it if it still runs, reap it, close all; harmless when called twice."""
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()
        self.channel.close()
        output, self.output = self.output, -1
        if output >= 0:
            os.close(output)


def spawn(folder: int | None = None, *, output: bool = True) -> Process:
    """Start a child that may use this folder (a descriptor); PlatformError where the system refuses.

    The calling thread must live as long as the child may.
    """
    try:
        ours, theirs = pair()
    except OSError as error:
        raise _refusal(error) from None
    try:
        return _start(ours, theirs, folder, output)
    except OSError as error:
        ours.close()
        raise _refusal(error) from None
    finally:
        for each in theirs:
            os.close(each)


def _start(ours: Channel, theirs: tuple[int, ...], folder: int | None, output: bool) -> Process:
    read, write = os.pipe2(os.O_CLOEXEC) if output else (-1, -1)
    inherited = (*theirs, *(() if folder is None else (folder,)))
    try:
        popen = subprocess.Popen(
            (*COMMAND, *map(str, theirs)),
            stdin=subprocess.DEVNULL,
            stdout=write if output else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if output else subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd="/",
            pass_fds=inherited,
            close_fds=True,
        )
    except OSError:
        if output:
            os.close(read)
        raise
    finally:
        if output:
            os.close(write)
    if output:
        os.set_blocking(read, False)
    return Process(popen, ours, read)


def _refusal(error: OSError) -> PlatformError:
    return PlatformError(f"no process can be started for a plugin: {error.strerror}; is the machine out of memory?")
