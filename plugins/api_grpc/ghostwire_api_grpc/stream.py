"""A node's session whose messages come as calls, and whose frames leave by a stream of answers: what the control plane
takes for a control stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ghostwire.errors import RemoteProtocolError
from ghostwire.wire import messages
from ghostwire.wire.api_errors import TooMany

if TYPE_CHECKING:
    from ghostwire.capabilities.control import ServerChallenge
    from ghostwire.keys import MachineKey, PublicKey

BURST, RATE, REPORT_COST = 2000, 20.0, 20
"""Calls at once, then a second; and how many of them a Report is, as over the control session."""
MAX_PENDING = 1024 * 1024
"""Bytes waiting for a slow reader above which more are refused."""
HIGH_WATER = 64 * 1024
PATIENCE = 10.0
"""Seconds until the stream has to be watched."""


class GrpcStream:
    """See `ghostwire.capabilities.control.NodeStream`. ``left`` is called once when the session is over."""

    def __init__(
        self, hello: Any, client: str, machine_key: MachineKey, challenge: ServerChallenge, left: Callable[[], None]
    ) -> None:
        self.hello, self.client, self.machine_key = hello, client, machine_key
        self._challenge: ServerChallenge | None = challenge
        self._left = left
        self._frames: deque[bytes] = deque()
        self.pending = 0
        self._news, self._full = asyncio.Event(), False
        self._on_message: Callable[[Any], None] | None = None
        self._on_closed: Callable[[], None] | None = None
        self._on_drained: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._even = self._loop.time()
        self._unwatched: asyncio.TimerHandle | None = None
        self.closed = self.over = self.watched = False
        self.reason = ""

    # What the control plane calls

    def verify(self, key: PublicKey, proof: bytes) -> bool:
        """Whether the other side holds this key's private half; asked once, False ever after."""
        challenge, self._challenge = self._challenge, None
        return challenge is not None and challenge.verify(key, proof)  # type: ignore[arg-type]

    def send(self, frame: bytes) -> bool:
        """Queue an encoded message; False where it was dropped."""
        if self.closed or self.pending > MAX_PENDING:
            return False
        self._frames.append(frame)
        self.pending += len(frame)
        self._full |= self.pending > HIGH_WATER
        self._news.set()
        return True

    def close(self, reason: str = "closed by the server") -> None:
        """Let what was accepted be read, by whoever reads; harmless when called twice."""
        if self.closed:
            return
        self.closed, self.reason = True, reason
        self._news.set()
        if not self.watched:
            self._await_watcher()

    def on_message(self, callback: Callable[[Any], None]) -> None:
        """Where messages go."""
        self._on_message = callback

    def on_closed(self, callback: Callable[[], None]) -> None:
        """Called once when the session is over."""
        if self.over:
            self._loop.call_soon(callback)
        else:
            self._on_closed = callback

    def on_drained(self, callback: Callable[[], None]) -> None:
        """Called whenever much was pending and is not any more."""
        self._on_drained = callback

    # What the calls do

    async def next(self, seconds: float) -> bytes | None:
        """The next frame, to be given back to `taken`; None after so many seconds; EOFError at the end."""
        if not self._frames and not self.closed:
            self._news.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), seconds)
        if self._frames:
            return self._frames.popleft()
        if self.closed:
            raise EOFError(self.reason)
        return None

    def taken(self, frame: bytes) -> None:
        """The transport has this frame."""
        self.pending -= len(frame)
        if self._full and self.pending <= HIGH_WATER // 4:
            self._full = False
            if self._on_drained is not None and not self.closed:
                self._on_drained()

    def take(self, message: Any) -> None:
        """Hand the control plane a message; TooMany where they come too fast, RemoteProtocolError where it is wrong."""
        decoded = messages.decode_to_server(messages.encode(message))
        if self.closed or self._on_message is None:
            raise RemoteProtocolError("the session is over")
        self._even = max(self._even, self._loop.time())
        if (debt := self._even - self._loop.time() - BURST / RATE) > 0:
            raise TooMany("too many calls in this session; slow down", round(debt) + 1)
        self._even += (REPORT_COST if isinstance(message, messages.Report) else 1) / RATE
        self._on_message(decoded)

    def begin(self) -> bool:
        """Watch from now on; False where somebody does, or did."""
        if self.watched or self.over:
            return False
        self.watched = True
        if self._unwatched is not None:
            self._unwatched.cancel()
        return True

    def welcomed(self) -> None:
        """The node was let in: it has `PATIENCE` to watch."""
        self._await_watcher()

    def end(self) -> None:
        """It is over; harmless when called twice."""
        if self.over:
            return
        self.closed = self.over = True
        self._frames.clear()
        self._news.set()
        if self._unwatched is not None:
            self._unwatched.cancel()
        callback, self._on_closed, self._on_message, self._on_drained = self._on_closed, None, None, None
        self._left()
        if callback is not None:
            callback()

    def _await_watcher(self) -> None:
        if self._unwatched is None:
            self._unwatched = self._loop.call_later(PATIENCE, self.end)
