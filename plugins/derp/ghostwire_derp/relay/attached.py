"""Streams on any asyncio transport: simulated networks, WebSockets, TLS that has no socket of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from ghostwire import Buffer
from ghostwire.engine import Clock
from ghostwire_derp.relay.arena import READ_BYTES
from ghostwire_derp.relay.inlet import Inlet
from ghostwire_derp.relay.router import Router

HIGH: Final = 64 * 1024
"""Bytes that may wait in the transport; what exceeds them waits in the outlet's queue, which is bounded."""
LOW: Final = 16 * 1024


class AttachedStream(asyncio.Protocol, Inlet):
    """The protocol of a transport; each call of it is a pass."""

    def __init__(self, router: Router, clock: Clock, settle: Callable[[], None], transport: Any) -> None:
        Inlet.__init__(self)
        self._router, self._clock, self._settle, self._transport = router, clock, settle, transport
        self._paused = self._full = False

    def start(self, rest: bytes) -> None:
        """Become the transport's protocol; ``rest`` has arrived already."""
        self._router.begin(self._clock.now())
        self._transport.set_write_buffer_limits(high=HIGH, low=LOW)
        self._transport.set_protocol(self)
        if rest:
            self.data_received(rest)
        self._transport.resume_reading()
        self._settle()

    # The transport's side

    def data_received(self, data: bytes) -> None:
        """Parse, and let others' streams write."""
        if self.owner.closed:
            return
        self._router.begin(self._clock.now())
        for start in range(0, len(data), READ_BYTES):
            self._take(data[start : start + READ_BYTES])
        self._settle()

    def _take(self, data: bytes) -> None:
        arena, kept = self._router.arena, len(self.kept)
        if arena.room < kept + len(data):
            self._router.outgoing.flush()
        if kept + len(data) > arena.size:  # the transport goes on though it was paused
            self.owner.lost()
        if self.owner.closed:
            return
        arena.view[arena.used + kept : arena.used + kept + len(data)] = data
        self.parse(arena, len(data))
        self._router.received(self.owner, len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._router.begin(self._clock.now())
        self.owner.lost()
        self._settle()

    def pause_writing(self) -> None:
        """The transport holds enough."""
        self._full = True

    def resume_writing(self) -> None:
        """The transport can take more."""
        self._full = False
        self._router.begin(self._clock.now())
        self.owner.resume()
        self._settle()

    # The owner's side

    def write(self, buffers: list[Buffer]) -> int:
        """Give the transport all of it, or nothing."""
        if self._full or self._transport.get_write_buffer_size() > HIGH:
            return 0
        data = b"".join(buffers)
        self._transport.write(data)
        return len(data)

    def watch(self, writable: bool) -> None:
        """The transport tells in any case."""

    def pause(self) -> None:
        """Read nothing more."""
        self._paused = True
        self._transport.pause_reading()

    def resume(self) -> None:
        """Read on, what is kept first."""
        self._paused = False
        asyncio.get_running_loop().call_soon(self._resumed)

    def _resumed(self) -> None:
        if self.owner.closed or self._paused:
            return
        self._router.begin(self._clock.now())
        self._take(b"")
        if not self.owner.closed and not self._paused:
            self._transport.resume_reading()
        self._settle()

    def close(self) -> None:
        """Hang up."""
        self._transport.abort()
