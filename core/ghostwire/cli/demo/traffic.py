"""Real traffic between places: echo requests and a TCP transfer, from plain sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

from ghostwire.cli.demo.stage import Place, Stage
from ghostwire.errors import Unavailable
from ghostwire.node.ping import echo

ECHO_TIMEOUT = 0.5
POLL = 0.1  # seconds until the next echo where one failed: the route may not be there yet
_CHUNK = 256 << 10


def ping(stage: Stage, place: Place, target: str, *, count: int = 3, patience: float = 10.0) -> list[float]:
    """Round-trip times in seconds of ``count`` echo requests; Unavailable where none is answered in ``patience``."""
    times: list[float] = []
    deadline = time.monotonic() + patience
    with stage.inside(place):
        while len(times) < count:
            try:
                times.append(asyncio.run(echo(target, ECHO_TIMEOUT)))
            except Unavailable:
                if time.monotonic() > deadline:
                    raise Unavailable(f"{place.name} gets no answer from {target}") from None
                time.sleep(POLL)
    return times


def transfer(stage: Stage, source: Place, target: Place, address: str, *, seconds: float) -> tuple[int, float]:
    """Send over TCP to a mesh address for so long; bytes that arrived, and in how many seconds."""
    with stage.inside(target):
        listener = socket.create_server((address, 0))
    with stage.inside(source):
        sender = socket.socket()
    with listener, sender:
        sender.settimeout(10)
        listener.settimeout(10)
        sender.connect(listener.getsockname())
        receiver, _ = listener.accept()
        with receiver:
            receiver.settimeout(10)
            sending = threading.Thread(target=_send, args=(sender, seconds))
            began = time.monotonic()
            sending.start()
            arrived = _receive(receiver)
            sending.join()
            return arrived, time.monotonic() - began


def _send(sock: socket.socket, seconds: float) -> None:
    data, end = bytes(_CHUNK), time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        sock.close()  # the receiver sees the end, and too few bytes


def _receive(sock: socket.socket) -> int:
    buffer, arrived = bytearray(_CHUNK), 0
    while count := sock.recv_into(buffer):
        arrived += count
    return arrived
