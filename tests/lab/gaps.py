"""Steady TCP traffic through the mesh that notes when bytes arrive: what interrupts it shows as a gap between them."""

from __future__ import annotations

import hashlib
import itertools
import random
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from natlab import Lab
from netns import in_netns
from programs import Node, wait_for

CHUNK, PAUSE = 4096, 0.01
"""Bytes that a stream writes at once, and seconds between: 3.3 Mbit/s, which two nodes in Python carry at ease."""
QUESTION, REST = 512, 0.02
BUFFER = 64 << 10
"""What a sender's kernel may hold, lest it sends what has piled up in a gap at once."""
DEAD = 30.0
"""Seconds without a byte after which a flow counts as broken."""
SAMPLE = 64 << 10
STALL = 0.25
"""Seconds between two arrivals that count as an interruption."""


class Flow(ABC):
    """A TCP connection between two nodes' mesh addresses, with somebody writing steadily and somebody reading.

    ``rate`` is what arrives in a second, in bytes.
    """

    rate: float

    def __init__(self, source: Node, target: Node) -> None:
        self.arrivals: list[float] = []
        self.received = 0
        self._trouble: list[BaseException] = []
        self._closing = threading.Event()
        self._here, self._there = _connected(source, target)
        self._threads = [threading.Thread(target=self._watched, args=(work,)) for work in (self._write, self._read)]

    @abstractmethod
    def _write(self) -> None:
        """Send until `_closing`, and then end the connection in that direction."""

    @abstractmethod
    def _read(self) -> None:
        """Receive until the end, and tell `_arrived` of it."""

    @abstractmethod
    def whole(self) -> bool:
        """Whether all that was sent arrived, unchanged; known once the flow is closed."""

    def _watched(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as trouble:
            self._trouble.append(trouble)

    def _arrived(self, size: int) -> None:
        self.received += size
        self.arrivals.append(time.monotonic())

    @property
    def failed(self) -> bool:
        """Whether the connection broke."""
        return bool(self._trouble)

    def check(self) -> None:
        """An AssertionError where the connection broke."""
        assert not self._trouble, f"the TCP connection broke: {self._trouble[0]!r}"

    def goes_on(self, seconds: float = 0.5, patience: float = DEAD) -> None:
        """Wait until as much has arrived as does in this time."""
        goal = self.received + int(seconds * self.rate)

        def there() -> bool:
            self.check()
            return self.received >= goal

        wait_for("the transfer goes on", there, patience)

    def gap(self, since: float) -> float:
        """The longest time in seconds between two arrivals that had not ended at ``since``."""
        return max(self._gaps(since))

    def stalled(self, since: float) -> float:
        """The seconds of all interruptions since then."""
        return sum(gap for gap in self._gaps(since) if gap >= STALL)

    def _gaps(self, since: float) -> list[float]:
        times = [*self.arrivals, time.monotonic()]
        return [later - earlier for earlier, later in itertools.pairwise(times) if later > since]

    def __enter__(self) -> Self:
        self.arrivals.append(time.monotonic())
        for thread in self._threads:
            thread.start()
        return self

    def close(self) -> None:
        """Send no more, and wait for what is under way."""
        self._closing.set()
        for thread in self._threads:
            if thread.ident:
                thread.join(DEAD)
        self._here.close()
        self._there.close()

    def __exit__(self, *exc: object) -> None:
        self.close()


class Stream(Flow):
    """Bytes one way, at a steady rate."""

    rate = CHUNK / PAUSE

    def __init__(self, source: Node, target: Node) -> None:
        super().__init__(source, target)
        self._sent, self._heard = hashlib.sha256(), hashlib.sha256()

    def _write(self) -> None:
        dice, due = random.Random(1), time.monotonic()
        while not self._closing.wait(max(0.0, due - time.monotonic())):
            data = dice.randbytes(CHUNK)
            self._here.sendall(data)
            self._sent.update(data)
            due = max(due + PAUSE, time.monotonic() - PAUSE)
        self._here.shutdown(socket.SHUT_WR)

    def _read(self) -> None:
        while part := self._there.recv(1 << 16):
            self._heard.update(part)
            self._arrived(len(part))

    def whole(self) -> bool:
        return self.received > 0 and self._sent.digest() == self._heard.digest()


class Questions(Flow):
    """One small request at a time, which is answered before the next is sent; answers count as what arrives."""

    rate = QUESTION / (REST + 0.01)

    def __init__(self, source: Node, target: Node) -> None:
        super().__init__(source, target)
        self._asked = self._answered = 0

    def _write(self) -> None:
        """Ask, at the one end."""
        while not self._closing.wait(REST):
            question = random.Random(self._asked).randbytes(QUESTION)
            self._asked += 1
            self._here.sendall(question)
            if self._here.recv(QUESTION, socket.MSG_WAITALL) != question:
                return
            self._answered += 1
            self._arrived(QUESTION)
        self._here.shutdown(socket.SHUT_WR)

    def _read(self) -> None:
        """Answer, at the other."""
        while question := self._there.recv(QUESTION, socket.MSG_WAITALL):
            self._there.sendall(question)

    def whole(self) -> bool:
        return 0 < self._asked == self._answered


def _connected(source: Node, target: Node) -> tuple[socket.socket, socket.socket]:
    address = target.address()
    here = source.lab.socket(source.member, kind=socket.SOCK_STREAM)
    with target.lab.socket(target.member, kind=socket.SOCK_STREAM) as listener:
        listener.bind((address, 0))
        listener.listen()
        listener.settimeout(DEAD)
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        here.settimeout(DEAD)
        here.connect(listener.getsockname())
        there, _ = listener.accept()
    there.settimeout(DEAD)
    return here, there


class OneWay:
    """UDP datagrams to a node where nothing ever answers, of ``size`` bytes."""

    size = 1024

    def __init__(self, source: Node, target: Node) -> None:
        self.arrived = 0
        self._here, self._there = (node.lab.socket(node.member) for node in (source, target))
        self._there.bind((target.address(), 0))
        self._there.settimeout(DEAD)
        self._target = self._there.getsockname()
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._send, self._count)]

    def _send(self) -> None:
        while not self._closing.wait(PAUSE):
            self._here.sendto(bytes(self.size), self._target)

    def _count(self) -> None:
        with suppress(TimeoutError):
            while self._there.recv(self.size):
                self.arrived += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.set()
        self._threads[0].join()
        self._here.sendto(b"", self._target)
        self._there.settimeout(1)
        self._threads[1].join(DEAD)
        for sock in (self._here, self._there):
            sock.close()


class RelayedShare:
    """What part of a flow's bytes passes through these relays' hosts."""

    def __init__(self, lab: Lab, flow: Flow, *relays: str) -> None:
        self._lab, self._flow, self._relays = lab, flow, relays
        self._received, self._relayed = flow.received, bytes_in(lab, *relays)

    def now(self) -> float | None:
        """The part of the bytes that arrived since the last answer; None before they are `SAMPLE`."""
        received, relayed = self._flow.received, bytes_in(self._lab, *self._relays)
        if received - self._received < SAMPLE:
            return None
        share = (relayed - self._relayed) / (received - self._received)
        self._received, self._relayed = received, relayed
        return share


def bytes_in(lab: Lab, *members: str) -> int:
    """What has arrived at these hosts' ``eth0`` so far: of relays, whether packets pass through them."""
    total = 0
    for member in members:
        with in_netns(lab.ns(member)), open("/proc/thread-self/net/dev") as counters:
            total += sum(int(line.split()[1]) for line in counters if line.split()[0] == "eth0:")
    return total
