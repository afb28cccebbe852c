"""The engine under all requests to a router: each is sent again until it is answered, and given up soon.

A datagram counts only where it came from the address that was asked; on port 5351 and from it for NAT-PMP and PCP.
A router is a hop away, so it answers within `TRY` or not at all: `TRIES` requests, `TRY` apart, then `SILENT`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable, Mapping, Sequence

from ghostwire.engine import MILLISECOND

Address = tuple[str, int]
"""An IPv4 address and a port."""

TRY = 250 * MILLISECOND
TRIES = 3
SILENT = "no answer"
CONTROL_PORT = 5351
"""Where routers listen for NAT-PMP and PCP."""


class Asking(ABC):
    """Asks ``target``; ``requests`` are by what answers them. Done once all are answered, or ``trouble`` says why not.

    ``last`` is how long the answer to the last try is waited for, in nanoseconds. ``heard`` becomes true once the
    router answered in this protocol at all; ``ignored`` counts the datagrams that were no answer.
    """

    def __init__(self, target: Address, requests: Mapping[Hashable, bytes], now: int, *, last: int = TRY) -> None:
        self.target = target
        self.trouble = ""
        self.heard = False
        self.ignored = 0
        self._waiting = dict(requests)
        self._due, self._left, self._last = now, TRIES, last
        self._outgoing: deque[tuple[Address, bytes]] = deque()

    @property
    def done(self) -> bool:
        """Whether nothing is to be waited for any more."""
        return bool(self.trouble) or not self._waiting

    def deadline(self) -> int | None:
        """When `advance` has something to do."""
        return None if self.done else self._due

    def advance(self, now: int) -> None:
        """Send what is not answered yet, or give up."""
        if self.done or now < self._due:
            return
        if not self._left:
            self.silent()
            return
        self._left -= 1
        self._due = now + (TRY if self._left else self._last)
        self._outgoing.extend(self.attempt(TRIES - self._left, list(self._waiting.values())))

    def sends(self) -> list[tuple[Address, bytes]]:
        """What to send now, and where to; each is told once."""
        out = list(self._outgoing)
        self._outgoing.clear()
        return out

    def receive(self, source: Address, data: bytes, now: int) -> None:
        """A datagram arrived, from anybody."""
        if not self.done and not (self.comes_from(source) and self.take(data, now)):
            self.ignored += 1

    def attempt(self, number: int, requests: Sequence[bytes]) -> Sequence[tuple[Address, bytes]]:
        """What the try of that number, from 1 on, sends."""
        return [(self.target, request) for request in requests]

    def comes_from(self, source: Address) -> bool:
        """Whether an answer may come from there."""
        return source == self.target

    def answered(self, request: Hashable) -> None:
        """Wait for this answer no longer."""
        self._waiting.pop(request, None)

    def silent(self) -> None:
        """Nothing more will come."""
        self.trouble = SILENT

    @abstractmethod
    def take(self, data: bytes, now: int) -> bool:
        """Use a datagram; False where it is no answer to these requests."""
