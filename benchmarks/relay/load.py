"""The generator: one thread, precomputed frames, and no work per frame, so that it costs less than any relay.

A sender writes the same block of frames over and over. A receiver counts frames by where they must begin, for all that
it gets have one length; of every chunk it looks at the first and the last, and at all where those are not as expected.
"""

from __future__ import annotations

import select
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle

from benchmarks.relay.client import Connection

from ghostwire_derp import frames

CHUNK = 256 * 1024
SHARE = 64 * 1024
"""Bytes that a sender writes in one turn, at most; where nothing paces it, always."""
BURST = 10
"""Frames that a paced sender writes in one turn, at least."""
AT_ONCE = 40
"""Turns of paced senders between two looks at what has arrived."""
WARM_UP, SILENCE, DRAIN = 0.4, 0.2, 3.0
"""Seconds before anything counts; without a byte until all has arrived; at most waited for that."""
STEP, STEEPNESS, HIGHEST, HELD_BACK, AS_GOOD = 0.4, 1.5, 32, 0.9, 0.95
"""A search for the best rate: seconds a step, from step to step, at most beyond the first; when a relay holds back; and
which share of the best is as good."""
TICK = 0.001
"""Seconds between two looks at what is due."""
HEAD = frames.HEADER_BYTES + frames.KEY_BYTES
_MARK = b"GhostWireBench"
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(frozen=True, slots=True)
class Measured:
    """``received`` is frames a second while it counted; ``loss`` is a share of all that were sent."""

    received: float
    loss: float
    payload: int

    @property
    def gigabits(self) -> float:
        """Payload that arrived, in Gbit/s."""
        return self.received * self.payload * 8 / 1e9


class Sender:
    """Writes to ``targets`` in turn, ``payload`` bytes each; ``kind`` is what a relay gets, or what it gives."""

    def __init__(
        self, client: Connection, targets: Sequence[bytes], payload: int, kind: int = frames.SEND_PACKET
    ) -> None:
        self.sock, self.frame = client.sock, HEAD + payload
        head = frames.header.pack(kind, frames.KEY_BYTES + payload)
        data = (_MARK + client.key).ljust(payload, b".")
        once = b"".join(head + target + data for target in targets)
        copies, more = CHUNK // len(once) + 1, SHARE // len(once) + 1
        self._cycle = copies * len(once)
        self._block = memoryview(once * (copies + more))  # so that no write is cut short where it begins anew
        self._at = self._sent = self._refused = 0

    @property
    def frames(self) -> int:
        """How many were written whole."""
        return self._sent // self.frame

    def push(self, size: int) -> None:
        """Write so many bytes, or as many as the socket takes."""
        size = self._refused or size  # TLS wants the same bytes again
        try:
            done = self.sock.send(self._block[self._at : self._at + size])
        except _WOULD_BLOCK:
            self._refused = size
            return
        self._refused = 0
        self._sent += done
        self._at = (self._at + done) % self._cycle

    def finish(self) -> bool:
        """Write the frame that was begun to its end; whether that is done."""
        if missing := self._refused or -self._sent % self.frame:
            self.push(missing)
        return not (self._refused or -self._sent % self.frame)


class Receiver:
    """Counts the frames that arrive, all of ``payload`` bytes; RuntimeError where one is not as it was sent."""

    def __init__(self, client: Connection, payload: int, buffer: bytearray) -> None:
        self.sock, self._buffer, self._view = client.sock, buffer, memoryview(buffer)
        self._head = frames.header.pack(frames.RECV_PACKET, frames.KEY_BYTES + payload)
        self._frame = HEAD + payload
        self._tls = isinstance(client.sock, ssl.SSLSocket)
        self._rest = b""  # of a frame that has not wholly arrived
        self.frames = 0

    def pull(self) -> bool:
        """Read what is there, a chunk at most; whether there was anything. TLS gives a record at a time."""
        size = got = self._pull()
        while got and size < CHUNK and self._tls:
            got = self._pull()
            size += got
        return size > 0

    def _pull(self) -> int:
        kept = len(self._rest)
        try:
            size = self.sock.recv_into(self._view[kept:])
        except _WOULD_BLOCK:
            return 0
        if not size:
            raise RuntimeError("the relay closed a client's connection")
        self._view[:kept] = self._rest
        end = kept + size
        self._rest = bytes(self._view[self._count(end) : end])
        return size

    def _count(self, end: int) -> int:
        """Count the whole frames before ``end``; where the first unfinished one begins."""
        whole = end // self._frame
        if whole and self._is_expected(0) and self._is_expected((whole - 1) * self._frame):
            self.frames += whole
            return whole * self._frame
        return self._count_one_by_one(end)

    def _count_one_by_one(self, end: int) -> int:
        at = 0
        while at + frames.HEADER_BYTES <= end:
            kind, length = frames.header.unpack_from(self._buffer, at)
            if at + frames.HEADER_BYTES + length > end:
                break
            if kind == frames.RECV_PACKET:
                if not self._is_expected(at):
                    raise RuntimeError("the relay delivered a packet that is not as it was sent")
                self.frames += 1
            at += frames.HEADER_BYTES + length
        return at

    def _is_expected(self, at: int) -> bool:
        """The frame's head is right, and its source is the client that its payload names."""
        buffer, data = self._buffer, at + HEAD
        if buffer[at : at + frames.HEADER_BYTES] != self._head or not buffer.startswith(_MARK, data):
            return False
        named = data + len(_MARK)
        return buffer[at + frames.HEADER_BYTES : data] == buffer[named : named + frames.KEY_BYTES]


class Load:
    """Senders and receivers in one thread. A rate is of all senders together, in frames a second; None: no limit."""

    def __init__(self, senders: Sequence[Sender], receivers: Sequence[Receiver]) -> None:
        self._senders, self._receivers = senders, receivers
        self.payload = senders[0].frame - HEAD
        self._pulls = {receiver.sock.fileno(): receiver.pull for receiver in receivers}
        self._pushes = {sender.sock.fileno(): sender.push for sender in senders}
        self._turns = cycle(senders)

    def best_rate(self, lowest: float) -> float | None:
        """The rate at which most arrives, looked for from here upwards; of those as good, the one that loses least."""
        found: dict[float | None, _Flow] = {}
        rate: float | None = lowest
        while rate is not None:
            found[rate] = self._at(rate, STEP)
            rate = None if found[rate].sent < HELD_BACK * rate or rate > HIGHEST * lowest else rate * STEEPNESS
        found[None] = self._at(None, STEP)
        self._drain()
        enough = AS_GOOD * max(flow.received for flow in found.values())
        best = [rate for rate, flow in found.items() if flow.received >= enough]
        return max(best, key=lambda rate: found[rate].received / found[rate].sent)

    def run(self, rate: float | None, seconds: float, begin: Callable[[], object] = bool) -> Measured:
        """Send for so long, after a warm-up that ends with ``begin``; then wait for what is under way."""
        received, sent = self._received(), self._sent()
        self._at(rate, WARM_UP)
        begin()
        found = self._at(rate, seconds)
        self._drain()
        loss = 1 - (self._received() - received) / (self._sent() - sent)
        return Measured(found.received, loss, self.payload)

    def _at(self, rate: float | None, seconds: float) -> _Flow:
        received, sent, began = self._received(), self._sent(), time.monotonic()
        with select.epoll() as poller:
            self._register(poller, send=rate is None)
            self._serve(poller, rate or 0, began, began + seconds)
        took = time.monotonic() - began
        return _Flow((self._received() - received) / took, (self._sent() - sent) / took)

    def _register(self, poller: select.epoll, *, send: bool) -> None:
        events = dict.fromkeys(self._pulls, select.EPOLLIN)
        for sock in self._pushes if send else ():
            events[sock] = events.get(sock, 0) | select.EPOLLOUT
        for sock, event in events.items():
            poller.register(sock, event)

    def _serve(self, poller: select.epoll, rate: float, began: float, end: float) -> None:
        granted = 0.0
        while (now := time.monotonic()) < end:
            granted = self._grant(granted, (now - began) * rate)
            for sock, event in poller.poll(TICK, len(self._pulls) + len(self._pushes)):
                if event & select.EPOLLOUT:
                    self._pushes[sock](SHARE)
                if event & ~select.EPOLLOUT:
                    self._pulls[sock]()

    def _grant(self, granted: float, due: float) -> float:
        """Have senders write what is due in turn, all the more of it the more they lag behind; how far that goes.

        As many turns as there could be would keep receivers waiting, and look like the relay's loss; bursts that stay
        small would cost generator and relay more a frame than senders without a limit do, and look like its collapse.
        """
        count, most = len(self._senders), SHARE // (HEAD + self.payload)
        granted = max(granted, due - count * most)  # what could not be sent in time is not sent at all
        burst = min(most, max(BURST, int(due - granted) // count))
        for _ in range(AT_ONCE):
            if granted + burst > due:
                break
            granted += burst
            sender = next(self._turns)
            sender.push(sender.frame * burst)  # nor what the socket does not take
        return granted

    def _received(self) -> int:
        return sum(receiver.frames for receiver in self._receivers)

    def _sent(self) -> int:
        return sum(sender.frames for sender in self._senders)

    def _drain(self) -> None:
        """Write begun frames to their end, and read until nothing more arrives."""
        quiet = time.monotonic() + SILENCE
        limit = quiet + DRAIN
        while time.monotonic() < min(limit, quiet):
            unfinished = sum(not sender.finish() for sender in self._senders)
            if unfinished or sum(pull() for pull in self._pulls.values()):
                quiet = time.monotonic() + SILENCE
            time.sleep(TICK)


@dataclass(frozen=True, slots=True)
class _Flow:
    """Frames a second."""

    received: float
    sent: float
