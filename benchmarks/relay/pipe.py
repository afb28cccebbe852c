"""No relay at all: a process that splices one connection's bytes into another's, to see what the generator can do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from benchmarks.relay.client import Connection
from benchmarks.relay.relays import ROOT
from benchmarks.relay.scenarios import flows

from ghostwire_derp import frames

SIZE = 1 << 20


def ceiling(seconds: float) -> float:
    """Gbit/s of payload that the generator sends and takes, in one flow."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (sender, source), (receiver, target) = (_connection(listener) for _ in range(2))
    with source, target:
        inherited = source.fileno(), target.fileno()
        words = [sys.executable, "-m", "benchmarks.relay.pipe", *map(str, inherited)]
        process = subprocess.Popen(words, pass_fds=inherited, cwd=ROOT)
    try:
        receiver.key = sender.key  # which is what frames that arrive are to name
        return flows([(sender, receiver)], kind=frames.RECV_PACKET).run(None, seconds).gigabits
    finally:
        sender.close()
        receiver.close()
        process.wait()


def _connection(listener: socket.socket) -> tuple[Connection, socket.socket]:
    near = socket.create_connection(listener.getsockname())
    far, _ = listener.accept()
    near.setblocking(False)
    return Connection(near, os.urandom(frames.KEY_BYTES)), far


def main(source: int, target: int) -> None:
    out, into = os.pipe()
    while size := os.splice(source, into, SIZE):
        while size:
            size -= os.splice(out, target, size)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
