"""Two nodes that never spoke: when the first packet is answered, when data goes directly, and over which path."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from natlab import Lab
from packettap import Tap
from programs import Node

PORT = 7007
EAGER, STEADY = 0.01, 0.05
"""Seconds between packets before the first is answered, and after."""


@dataclass(frozen=True)
class Found:
    """Seconds since the first packet was sent; None for never. ``path`` is the sender's, as its node shows it."""

    answered: float | None
    direct: float | None
    path: dict[str, Any]

    @property
    def way(self) -> str:
        """``direct4``, ``direct6``, ``relayed`` or ``none``."""
        if not self.path:
            return "none"
        if self.path["relayed"]:
            return "relayed"
        return "direct6" if self.path["endpoint"].startswith("[") else "direct4"


class End:
    """A node with a tap on its link and a socket in the mesh; it echoes what comes to its port."""

    def __init__(self, lab: Lab, node: Node) -> None:
        self.node, self.tap = node, Tap(lab, node.member)
        self.outside = {*lab.outside[node.member], lab.addresses[node.member]}
        self.address = node.address()
        self.socket = lab.socket(node.member)
        self.socket.setblocking(False)
        self.socket.bind((self.address, PORT))
        self.answered: Callable[[str], object] | None = None
        loop = asyncio.get_running_loop()
        loop.add_reader(self.tap.socket, self.tap.read)
        loop.add_reader(self.socket, self._read)

    def send(self, other: End) -> None:
        with contextlib.suppress(BlockingIOError):
            self.socket.sendto(b"?", (other.address, PORT))

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data, (source, _) = self.socket.recvfrom(64)
            if data == b"?":
                self.socket.sendto(b"!", (source, PORT))
            elif self.answered is not None:
                self.answered(source)

    def heard(self, other: End) -> float | None:
        """When the other's data first came here directly."""
        return min((at for source, at in self.tap.first.items() if source in other.outside), default=None)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in (self.tap.socket, self.socket):
            loop.remove_reader(sock)
            sock.close()


@contextlib.contextmanager
def ends(lab: Lab, nodes: list[Node]) -> Iterator[dict[str, End]]:
    """An end for each node; inside a running loop."""
    with contextlib.ExitStack() as stack:
        made = {}
        for node in nodes:
            made[node.member] = End(lab, node)
            stack.callback(made[node.member].close)
        yield made


async def cold_start(first: End, second: End, *, patience: float) -> Found:
    """Send from ``first`` until its packets are answered and go directly both ways, or for ``patience`` seconds."""
    began, answered = time.monotonic(), list[float]()
    first.answered = lambda source: answered.append(time.monotonic()) if source == second.address else None
    while time.monotonic() - began < patience and not (answered and _direct(first, second)):
        first.send(second)
        await asyncio.sleep(STEADY if answered else EAGER)
    first.answered = None
    direct = _direct(first, second)
    path = await settled(first, second, relayed=not direct)
    return Found(answered[0] - began if answered else None, direct - began if direct else None, path)


def _direct(first: End, second: End) -> float | None:
    """Since when data went directly both ways."""
    here, there = first.heard(second), second.heard(first)
    return max(here, there) if here and there else None


async def settled(first: End, second: End, *, relayed: bool, patience: float = 2.0) -> dict[str, Any]:
    """The path that the first node shows, once it is so or patience has run out; packets go on meanwhile."""
    limit = time.monotonic() + patience
    while True:
        peer = await asyncio.to_thread(first.node.peer, second.node.member)
        path: dict[str, Any] = peer["path"] or {}
        if (path and path["relayed"] is relayed) or time.monotonic() > limit:
            return path
        first.send(second)
        await asyncio.sleep(STEADY)
