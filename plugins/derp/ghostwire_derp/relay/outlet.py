"""The writing side of every stream: what is pending leaves in one call at a pass's end, the rest waits its turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from ghostwire import Buffer
from ghostwire_derp.relay.arena import Arena
from ghostwire_derp.relay.counters import Counters
from ghostwire_derp.relay.limits import Limits
from ghostwire_derp.relay.queue import Queue

IOV_MAX: Final = 1024
"""Buffers that one system call takes."""

Parse = Callable[[Any, int, int], int]
"""Parses the whole frames that an outlet's stream brought, from a start to an end in the arena; the last one's end."""


class Stream(Protocol):
    """What a driver provides. Only `write` may raise (OSError where the stream is dead)."""

    def write(self, buffers: list[Buffer]) -> int:
        """Take as many of these bytes as go without waiting; how many."""

    def watch(self, writable: bool) -> None:
        """Whether to call the owner's `Outlet.resume` once more can be written."""

    def pause(self) -> None:
        """Read nothing more for now."""

    def resume(self) -> None:
        """Read on, beginning with the bytes that were kept when the owner did not take them."""

    def close(self) -> None:
        """End the stream, without a call of `Outlet.lost`."""


class Outlet:
    """One stream as its owner sees it. ``pending`` are whole frames, in pieces, that leave with the next flush.

    ``for_relay`` says that another relay reads it, for which more may wait, and longer.
    """

    __slots__ = ("closed", "outgoing", "parse", "pending", "progress", "queue", "stream")
    stream: Stream
    parse: Parse
    for_relay: bool

    def __init__(self, outgoing: Outgoing) -> None:
        self.outgoing = outgoing
        self.pending: list[Buffer] = []
        self.queue: Queue | None = None
        self.progress = 0
        self.closed = False

    def put(self, *pieces: Buffer) -> None:
        """Send these bytes, which are whole frames together, with the next flush."""
        if not self.pending:
            self.outgoing.dirty.append(self)
        self.pending += pieces

    @property
    def room(self) -> int:
        """Bytes of packets that may wait for its reader."""
        limits = self.outgoing.limits
        return limits.relay_queue if self.for_relay else limits.queue

    @property
    def control_room(self) -> int:
        """Bytes of frames that are never dropped."""
        limits = self.outgoing.limits
        return limits.relay_control_queue if self.for_relay else limits.control_queue

    @property
    def patience(self) -> int:
        """Nanoseconds without progress after which it is given up."""
        limits = self.outgoing.limits
        return limits.relay_write if self.for_relay else limits.write

    def resume(self) -> None:
        """More can be written."""
        if not self.closed:
            self.outgoing.drain(self)

    def lost(self) -> None:
        """The stream is over."""
        raise NotImplementedError

    def give_up(self) -> None:
        """Its reader is too slow."""
        raise NotImplementedError


class Outgoing:
    """All outlets with something to send: ``dirty`` with something pending, ``blocked`` with a queue."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.counters, self.arena = limits, Counters(), Arena()
        self.dirty: list[Outlet] = []
        self.blocked: dict[Outlet, None] = {}
        self.queued = self.passes = self.now = 0
        self.wake: Callable[[], None] = lambda: None
        """Asks for a flush soon: somebody put something outside a pass."""

    def flush(self) -> None:
        """Write what is pending; afterwards nothing refers to the arena any more."""
        sent = 0
        for outlet in self.dirty:  # which grows where an outlet that fails makes others speak
            pending, outlet.pending = outlet.pending, []
            if outlet.closed:
                continue
            if outlet.queue is not None:
                self._enqueue(outlet, outlet.queue, b"".join(pending), 0)
                continue
            try:
                taken = outlet.stream.write(pending) if len(pending) <= IOV_MAX else self._write(outlet, pending)
            except OSError:
                outlet.lost()
                continue
            sent += taken
            if taken < sum(map(len, pending)):
                self._block(outlet, b"".join(pending), taken)
        self.counters.sent_bytes += sent
        self.dirty.clear()
        self.arena.used = 0
        self.passes += 1

    @staticmethod
    def _write(outlet: Outlet, pending: list[Buffer]) -> int:
        """Write more than one call takes."""
        sent = 0
        for start in range(0, len(pending), IOV_MAX):
            batch = pending[start : start + IOV_MAX]
            taken = outlet.stream.write(batch)
            sent += taken
            if taken < sum(map(len, batch)):
                break
        return sent

    def _block(self, outlet: Outlet, frames: bytes, sent: int) -> None:
        outlet.queue, outlet.progress = Queue(), self.now
        self.blocked[outlet] = None
        outlet.stream.watch(True)
        self._enqueue(outlet, outlet.queue, frames, sent)

    def _enqueue(self, outlet: Outlet, queue: Queue, frames: bytes, sent: int) -> None:
        before = queue.size
        queue.add(frames, sent)
        scarce = self.queued + queue.size - before > self.limits.queued
        packets, disco = queue.trim(self.limits.scarce_queue if scarce else outlet.room, self.limits.disco_queue)
        self.counters.dropped_queue_head += packets
        self.counters.dropped_queue_disco += disco
        self.queued += queue.size - before
        if queue.overflowed(outlet.control_room):
            outlet.give_up()

    def drain(self, outlet: Outlet) -> None:
        """Write what waits in the outlet's queue, as far as it goes."""
        queue = outlet.queue
        while queue is not None and (front := queue.front()):
            try:
                taken = outlet.stream.write(front)  # type: ignore[arg-type]
            except OSError:
                return outlet.lost()
            self._sent(outlet, queue, taken)
            if taken < sum(map(len, front)):
                return None
        return self._unblock(outlet)

    def _sent(self, outlet: Outlet, queue: Queue, taken: int) -> None:
        if taken:
            queue.sent(taken)
            self.queued -= taken
            self.counters.sent_bytes += taken
            outlet.progress = self.now

    def _unblock(self, outlet: Outlet) -> None:
        if self.blocked.pop(outlet, 0) is None:
            outlet.queue = None
            outlet.stream.watch(False)

    def stuck(self) -> Iterable[Outlet]:
        """Those to whom nothing could be written for longer than their patience."""
        return [outlet for outlet in self.blocked if self.now - outlet.progress > outlet.patience]

    def forget(self, outlet: Outlet) -> None:
        """The outlet is closed: drop what waits for it."""
        outlet.closed = True
        outlet.pending = []
        if outlet.queue is not None:
            self.counters.dropped_gone += len(outlet.queue)
            self.queued -= outlet.queue.size
            outlet.queue = None
            self.blocked.pop(outlet, None)
