"""How long a packet takes through a relay: two clients of it in a process that does nothing else.

`python -m benchmarks.relay.probe PORT SECONDS` prints ``ready``, begins at a line on stdin, and prints the times of all
packets in milliseconds as JSON. A direct path on this machine takes next to nothing: this is what the relay adds.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Self

from benchmarks.relay.client import Client
from benchmarks.relay.relays import ROOT

from ghostwire_derp import frames

INTERVAL = 0.002
"""Seconds between two packets."""
LOST = 1.0
"""Seconds after which a packet is given up; that is then its time."""
PAYLOAD = 200
_stamp = struct.Struct(">Q")
_FRAME = frames.HEADER_BYTES + frames.KEY_BYTES + PAYLOAD


class Probe:
    """The process, seen from the generator: logged in once it is entered, ended when it is left."""

    def __init__(self, port: int, seconds: float) -> None:
        words = [sys.executable, "-m", "benchmarks.relay.probe", str(port), str(seconds)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self._delays: list[float] = []

    def __enter__(self) -> Self:
        if self._line() != "ready\n":
            raise RuntimeError("the latency probe ended early")
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.communicate()

    def begin(self) -> None:
        """Send from now on."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def quantile(self, share: float) -> float:
        """Milliseconds within which that share of the packets arrived."""
        self._delays = self._delays or sorted(json.loads(self._line()))
        return self._delays[int(len(self._delays) * share)]

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


def main(port: int, seconds: float) -> None:
    with contextlib.suppress(PermissionError):
        os.nice(-10)  # waiting for a processor is not the relay's delay
    sender, receiver = Client(port, tls=False), Client(port, tls=False)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(_delays(sender, receiver, seconds)), flush=True)


def _delays(sender: Client, receiver: Client, seconds: float) -> list[float]:
    head = frames.header.pack(frames.SEND_PACKET, frames.KEY_BYTES + PAYLOAD) + receiver.key
    due = time.monotonic()
    end, sent, rest, delays = due + seconds, 0, b"", list[float]()
    while (now := time.monotonic()) < end or (len(delays) < sent and now < end + LOST):
        if due <= now < end:
            sender.sock.send(head + _stamp.pack(time.monotonic_ns()).ljust(PAYLOAD, b"."))
            due, sent = due + INTERVAL, sent + 1
        if select.select([receiver.sock], [], [], max(0, due - now) if now < end else LOST)[0]:
            rest += receiver.sock.recv(1 << 16)
            arrived = time.monotonic_ns()
            whole = len(rest) // _FRAME * _FRAME
            delays += [(arrived - then) / 1e6 for then in _stamps(rest[:whole])]
            rest = rest[whole:]
    return delays + [LOST * 1e3] * (sent - len(delays))


def _stamps(received: bytes) -> Iterator[int]:
    for begin in range(_FRAME - PAYLOAD, len(received), _FRAME):
        yield _stamp.unpack_from(received, begin)[0]


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
