"""What every session begins with, a node's or a relay's: is it served, does it come too often, may it be enrolled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from ghostwire.capabilities.storage import Transaction
from ghostwire.engine import Clock
from ghostwire.errors import AuthenticationFailed, GhostwireError
from ghostwire.errors import Refused as RefusedError
from ghostwire.keys import PublicKey
from ghostwire.server.limits import Buckets, Complaints
from ghostwire.server.mesh import LiveMesh
from ghostwire.wire import messages
from ghostwire.wire.messages import Refused

if TYPE_CHECKING:
    from ghostwire.capabilities.control import NodeStream

MAX_ENROLMENTS = 512
"""Claims waiting for a transaction; further ones are told to come again."""
BUSY_RETRY = 5
FAILURES = (10, 6.0)
"""Wrong credentials from one address: so many at once, then one every so many seconds."""
SESSIONS = (30, 2.0)
"""Sessions of one machine: so many at once, then one every so many seconds; each may cost a full map."""

UNSTORED = Refused(code="busy", message="the server cannot store this now; try again later", retry_after=BUSY_RETRY)
CLOSING = Refused(code="busy", message="the server is shutting down", retry_after=1)

AWAY = Refused(code="busy", message="this server cannot reach its database; come to another", retry_after=1)

T = TypeVar("T")


class Gate:
    """Counts and bounds for all sessions of this server, and the tasks that they began."""

    def __init__(self, mesh: LiveMesh, clock: Clock, log: logging.Logger) -> None:
        self._mesh, self._log = mesh, log
        self.complaints = Complaints(log, clock)
        self._failures = Buckets(clock, burst=FAILURES[0], interval=FAILURES[1])
        self._begun = Buckets(clock, burst=SESSIONS[0], interval=SESSIONS[1], addresses=65536)
        self._tasks: set[asyncio.Task[None]] = set()
        self._enrolling = 0
        self.registrations = 0
        """Machines that were let in anew; counted by whoever let them in."""

    def passes(self, stream: NodeStream, key: PublicKey) -> bool:
        """Whether the stream's hello is of a protocol that is served, and proves ``key``; it was refused if not."""
        if not messages.OLDEST_PROTOCOL <= stream.hello.protocol <= messages.PROTOCOL:
            served = f"only {messages.OLDEST_PROTOCOL} to {messages.PROTOCOL}"
            self.refuse(
                stream, "protocol", f"protocol {stream.hello.protocol} is not served ({served}); upgrade the older"
            )
            return False
        if not stream.verify(key, stream.hello.proof):
            self.refuse(stream, AuthenticationFailed.code, "the key's proof is wrong; its key file may be damaged")
            return False
        return True

    def too_often(self, stream: NodeStream, kind: str, id_: int) -> bool:
        """Whether this ``node`` or ``relay`` begins too many sessions, and was refused for it."""
        wait = self._begun.wait(f"{kind} {id_}")
        if wait:
            self.refuse(stream, "busy", f"this {kind} begins too many sessions; try again later", wait)
        return wait > 0

    def begins(self, kind: str, id_: int) -> None:
        """Count a session of this ``node`` or ``relay``."""
        self._begun.take(f"{kind} {id_}")

    def enrol(
        self, stream: NodeStream, work: Callable[[Transaction], T], enrolled: Callable[[T], None], *, secret: bool
    ) -> None:
        """Decide about a claim in one durable transaction; ``secret``: it brings credentials that may be wrong."""
        if self._enrolling >= MAX_ENROLMENTS:
            self.refuse(stream, "busy", "too many machines are joining; try again", BUSY_RETRY)
        elif secret and (wait := self._failures.wait(stream.client)):
            self.refuse(stream, "busy", "too many wrong credentials from your address; try again later", wait)
        else:
            self.spawn(self._enrol(stream, work, enrolled, secret))

    def refuse(self, stream: NodeStream, code: str, message: str, retry_after: int = 0) -> None:
        """Say why, and close."""
        self.complaints.add(f"refused ({code})", f"{stream.client} {stream.machine_key.short}: {message}")
        stream.send(messages.encode(Refused(code=code, message=message, retry_after=retry_after)))
        stream.close(message)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let this run on; `close` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Wait for all that was begun."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _enrol(
        self, stream: NodeStream, work: Callable[[Transaction], T], enrolled: Callable[[T], None], secret: bool
    ) -> None:
        self._enrolling += 1
        try:
            record = await self._mesh.write(work)
        except RefusedError as error:
            if secret:
                self._failures.take(stream.client)
            self.refuse(stream, error.code, str(error))
        except GhostwireError as error:
            self.complaints.add("cannot enrol a machine", str(error))
            self.refuse(stream, UNSTORED.code, UNSTORED.message, BUSY_RETRY)
        except Exception:
            self.refuse(stream, UNSTORED.code, UNSTORED.message, BUSY_RETRY)
            raise
        else:
            enrolled(record)
        finally:
            self._enrolling -= 1

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._log.error("a control session failed: internal error", exc_info=task.exception())
