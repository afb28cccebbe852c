"""A link with delay, jitter, loss, duplication, reordering, corruption and a rate: netem in user space.

    wire.py A B [--delay MS] [--jitter MS] [--loss %] [--dup %] [--reorder %] [--corrupt %] [--rate MBIT] [--queue MS]

Copies Ethernet frames between interfaces A and B of this namespace (no address, up) with AF_PACKET; PACKET_VNET_HDR
keeps checksum-offload and GSO metadata. All values are per direction. New ones come as JSON lines on stdin:
``{"delay": 80, "loss": 5}`` or ``{"a2b": {"loss": 100}}``, each answered ``ok``; ``stat`` is answered with
``{"a2b": [seen, lost, waiting], ...}``. Prints ``ready``; SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import heapq
import json
import os
import random
import select
import socket
import struct
import time
from typing import Any

SOL_PACKET, PACKET_ADD_MEMBERSHIP = 263, 1
PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 15, 23
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
ETH_P_ALL_BE = 0x0003
VNET_HEADER, ETHERNET_HEADER, IPV4_HEADER = 10, 14, 20
FRAME_OVERHEAD = 24  # preamble, checksum and gap: what a frame occupies on a real wire beside its bytes
PR_SET_TIMERSLACK = 29
VALUES = ("delay", "jitter", "loss", "dup", "reorder", "corrupt", "rate", "queue")


def open_interface(name: str) -> socket.socket:
    """A promiscuous packet socket that does not see what it sends."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # protocol 0: nothing arrives until bind
    sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    for option in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
        with contextlib.suppress(PermissionError):  # a user namespace's root keeps the default size
            sock.setsockopt(socket.SOL_SOCKET, option, 8 << 20)
    sock.bind((name, ETH_P_ALL_BE))
    promiscuous = struct.pack("iHH8s", socket.if_nametoindex(name), 1, 0, b"")
    sock.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, promiscuous)
    sock.setblocking(False)
    return sock


class Way:
    """One direction: frames wait in a heap until they are due."""

    def __init__(self, source: socket.socket, target: socket.socket, values: dict[str, float], dice: random.Random):
        self.source, self.target, self.values, self.dice = source, target, dict(values), dice
        self.heap: list[tuple[float, int, bytes]] = []
        self.count = self.seen = self.lost = 0
        self.free = self.last = 0.0

    def happens(self, what: str) -> bool:
        """Whether an event of ``what`` percent happens now."""
        return bool(self.values[what]) and self.dice.random() * 100 < self.values[what]

    def take(self, now: float) -> None:
        """Read what arrived, at most 256 frames."""
        for _ in range(256):
            try:
                frame = self.source.recv(70000)
            except OSError:
                return
            self.seen += 1
            due = None if self.happens("loss") else self.serialised(len(frame), now)
            if due is None:
                self.lost += 1
            else:
                self.schedule(frame, due, now)

    def serialised(self, size: int, now: float) -> float | None:
        """When the last bit has left at the link's rate; None where the queue is full."""
        if not self.values["rate"]:
            return now
        start = max(now, self.free)
        if start - now > self.values["queue"] / 1000:
            return None
        self.free = start + (size - VNET_HEADER + FRAME_OVERHEAD) * 8 / (self.values["rate"] * 1e6)
        return self.free

    def schedule(self, frame: bytes, due: float, now: float) -> None:
        """Delay, corrupt and duplicate; a reordered frame overtakes by having no delay."""
        if not self.happens("reorder"):
            due += (self.values["delay"] + self.values["jitter"] * self.dice.uniform(-1, 1)) / 1000
            due = self.last = max(due, self.last)  # jitter alone does not reorder
        if self.happens("corrupt"):
            frame = self.corrupted(frame)
        if due <= now and not self.heap:
            self.put(frame)
        else:
            self.push(frame, due)
        if self.happens("dup"):
            self.push(frame, due)

    def push(self, frame: bytes, due: float) -> None:
        """Let a frame wait."""
        self.count += 1
        heapq.heappush(self.heap, (due, self.count, frame))

    def corrupted(self, frame: bytes) -> bytes:
        """The frame with one bit flipped behind its IP header."""
        headers = VNET_HEADER + ETHERNET_HEADER + IPV4_HEADER
        if len(frame) <= headers:
            return frame
        at = self.dice.randrange(headers, len(frame))
        return frame[:at] + bytes([frame[at] ^ (1 << self.dice.randrange(8))]) + frame[at + 1 :]

    def put(self, frame: bytes) -> None:
        """Send now."""
        try:
            self.target.send(frame)
        except OSError:
            self.lost += 1

    def due(self, now: float) -> float | None:
        """Send what is due; when the next frame is."""
        while self.heap and self.heap[0][0] <= now:
            self.put(heapq.heappop(self.heap)[2])
        return self.heap[0][0] if self.heap else None


class Orders:
    """Lines from stdin, carried out on both ways."""

    def __init__(self, ways: dict[str, Way]) -> None:
        self.ways, self.buffer = ways, b""

    def read(self) -> bool:
        """Carry out what arrived; False at the end of input."""
        data = os.read(0, 65536)
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            self.obey(line.strip())
        return bool(data)

    def obey(self, line: bytes) -> None:
        """One line."""
        if line == b"stat":
            print(json.dumps({name: [w.seen, w.lost, len(w.heap)] for name, w in self.ways.items()}), flush=True)
            return
        order: dict[str, Any] = json.loads(line)
        for name, way in self.ways.items():
            way.values.update({key: value for key, value in order.items() if key in VALUES})
            way.values.update(order.get(name, {}))
        print("ok", flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--seed", type=int, default=None)
    for value in VALUES:
        parser.add_argument(f"--{value}", type=float, default=100.0 if value == "queue" else 0.0)
    return parser.parse_args()


def run(ways: dict[str, Way]) -> None:
    """Copy frames until a signal ends the process."""
    orders, poll = Orders(ways), select.epoll()
    readers = {way.source.fileno(): way for way in ways.values()}
    for fd in readers:
        poll.register(fd, select.EPOLLIN)
    with contextlib.suppress(PermissionError):  # /dev/null cannot be polled
        poll.register(0, select.EPOLLIN)
    while True:
        now = time.monotonic()
        deadlines = [due for way in ways.values() if (due := way.due(now)) is not None]
        wait = max(0.0, min(deadlines) - time.monotonic()) if deadlines else -1
        for fd, _ in poll.poll(wait):
            if fd:
                readers[fd].take(time.monotonic())
            elif not orders.read():
                poll.unregister(0)


def main() -> None:
    """Open both interfaces and run."""
    options = arguments()
    values, dice = {value: getattr(options, value) for value in VALUES}, random.Random(options.seed)
    a, b = open_interface(options.a), open_interface(options.b)
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0)  # timers exact to a microsecond
    print("ready", flush=True)
    run({"a2b": Way(a, b, values, dice), "b2a": Way(b, a, values, dice)})


if __name__ == "__main__":
    main()
