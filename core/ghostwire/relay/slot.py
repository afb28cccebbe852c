"""One worker's place in a relay: the process that has it now, and the next one when that dies."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Iterable
from typing import Any

from ghostwire import errors
from ghostwire.capabilities.relaying import Load
from ghostwire.engine import SECOND, Clock, Entropy
from ghostwire.errors import GhostwireError, PlatformError, PluginError
from ghostwire.relay.pipe import Announced, Carrying, Failed, Pipe, Up, socket_pair
from ghostwire.uplink.backoff import Backoff
from ghostwire.wire.messages import Message

COMMAND = (sys.executable, "-P", "-m", "ghostwire.relay.worker")
"""-P: no module is taken from the current folder."""
CLOSE_TIMEOUT = 10.0
"""Seconds that a worker has to end in good order."""
STABLE = 30 * SECOND
"""A worker that lived so long is replaced as if it were the first to die."""

log = logging.getLogger("ghostwire.relay")


class Slot:
    """``greeting`` gives what a new worker is told first, ``announced`` takes the STUN port of one that has it."""

    def __init__(
        self,
        number: int,
        greeting: Callable[[], Iterable[Message]],
        announced: Callable[[int], None],
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._number, self._greeting, self._announced, self._clock = number, greeting, announced, clock
        self._backoff = Backoff(entropy)
        self._process: Process | None = None
        self._pipe: Pipe | None = None
        self._up: asyncio.Future[int]
        self._began = 0
        self._earlier, self._current = 0, Load(0, 0)

    @property
    def load(self) -> Load:
        """The worker's load; bytes include those of earlier ones."""
        return Load(self._current.clients, self._earlier + self._current.bytes)

    @property
    def pid(self) -> int:
        """The process that has the place now; 0 where none has."""
        return self._process.pid if self._process is not None else 0

    def tell(self, message: Message) -> None:
        """Tell the worker, if there is one; the next one is greeted with what is new by then."""
        if self._pipe is not None:
            self._pipe.send(message)

    async def start(self) -> int:
        """Start a worker and wait until it serves: its port. Else a GhostwireError, which may be the worker's own."""
        self._up = asyncio.get_running_loop().create_future()
        self._began = self._clock.now()
        try:
            return await self._start()
        except OSError as error:
            raise PlatformError(f"no process can be started: {error.strerror}; is the machine out of memory?") from None

    async def keep(self) -> None:
        """Replace the worker whenever it dies, until cancelled."""
        while True:
            if self._process is not None:
                await self._process.wait()
                log.error("worker %d (pid %d) died: %s; starting another", self._number, self.pid, self._how())
            self._ended()
            if self._clock.now() - self._began > STABLE:
                self._backoff.reset()
            await asyncio.sleep(self._backoff.next())
            try:
                await self.start()
            except GhostwireError as error:
                log.error("worker %d cannot start: %s; trying again", self._number, error)
            else:
                log.info("worker %d serves again (pid %d)", self._number, self.pid)

    async def close(self) -> None:
        """End the worker in good order, or at once after `CLOSE_TIMEOUT`; harmless when called twice."""
        if self._pipe is not None:
            self._pipe.close()
        process = self._process
        if process is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await process.wait()
        except TimeoutError:
            log.error("worker %d (pid %d) does not end; killed", self._number, process.pid)
            process.kill()
            await process.wait()
        self._ended()

    async def _start(self) -> int:
        try:
            await self._spawn()
            return await self._served()
        except BaseException:
            await self.close()
            raise

    async def _spawn(self) -> None:
        ours, theirs = socket_pair()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *COMMAND, str(theirs.fileno()), stdin=DEVNULL, pass_fds=[theirs.fileno()]
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._pipe = await Pipe.open(ours, self._received)
        for message in self._greeting():
            self._pipe.send(message)

    async def _served(self) -> int:
        assert self._process is not None
        assert self._pipe is not None
        exited = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait((self._up, exited), return_when=asyncio.FIRST_COMPLETED)
        finally:
            exited.cancel()
        if not self._up.done():
            await self._pipe.over.wait()  # what it said last
        if not self._up.done():
            raise GhostwireError(f"worker {self._number} ended before it served: {self._how()}")
        return self._up.result()

    def _ended(self) -> None:
        """The process is gone: what it carried counts, what it held does not."""
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None
        self._earlier, self._current = self._earlier + self._current.bytes, Load(0, 0)

    def _received(self, message: Any) -> None:
        if isinstance(message, Carrying):
            self._current = message.load
        elif isinstance(message, Announced):
            self._announced(message.stun_port)
        elif isinstance(message, Up) and not self._up.done():
            self._up.set_result(message.port)
        elif isinstance(message, Failed) and not self._up.done():
            self._up.set_exception(_revived(message))

    def _how(self) -> str:
        code = self._process.returncode if self._process is not None else None
        if code is None:
            return "it is gone"
        if code < 0:
            return signal.Signals(-code).name
        return f"it ended with status {code}"


def _revived(failure: Failed) -> GhostwireError:
    """The worker's error as one of this process."""
    kind = getattr(errors, failure.kind, GhostwireError)
    if kind is PluginError:
        return PluginError("", failure.text)
    return kind(failure.text) if issubclass(kind, GhostwireError) else GhostwireError(failure.text)
