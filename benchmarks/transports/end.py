"""One end of a transport: `python -m benchmarks.transports.end`, what it is as one JSON line on stdin.

Prints its endpoints as JSON once the transport runs, then answers one JSON line per order, and ends when stdin does.

    {"do": "count"}                                          {"datagrams": N}, all of full size that ever came
    {"do": "flood", "to": ENDPOINT, "seconds": S, "rate": R}  {}; R bursts a second, null for as many as possible
    {"do": "ask", "to": ENDPOINT, "times": N}                {"p50": us, "p99": us, "lost": N} of round trips
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path as FilePath
from typing import Any

import msgspec
import uvloop

from ghostwire import BURST, SEALED_MTU, Buffer, Metrics, Path, Transport, TransportContext
from ghostwire.keys import NodeKey, PrivateKey
from ghostwire.model import NetworkMap
from ghostwire.plugins.isolation.transport import IsolatedTransport
from ghostwire.system.clock import SystemClock
from ghostwire.system.sockets import SystemSockets

QUESTION, ANSWER = b"question", b"answer"
PATIENCE, PAUSE = 1.0, 0.002
TICK = 0.001


class End:
    """A transport, and what is done with it."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.datagrams = 0
        self._answered: asyncio.Future[None] | None = None

    def receive(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        if len(datagrams[0]) == SEALED_MTU:
            self.datagrams += len(datagrams)
        elif bytes(datagrams[0]) == QUESTION:
            source.send([ANSWER])
        elif self._answered is not None and not self._answered.done():
            self._answered.set_result(None)

    async def count(self, order: dict[str, Any]) -> dict[str, Any]:
        return {"datagrams": self.datagrams}

    async def flood(self, order: dict[str, Any]) -> dict[str, Any]:
        path, rate = self.transport.path(order["to"]), order["rate"]
        burst = [os.urandom(SEALED_MTU) for _ in range(BURST)]
        began, sent = time.monotonic(), 0
        while (passed := time.monotonic() - began) < order["seconds"]:
            if rate is not None and sent >= passed * rate:
                await asyncio.sleep(TICK)
                continue
            taken = path.send(burst)
            sent += 1
            await asyncio.sleep(0 if taken else TICK)  # who asks all the time takes the processor from who sends
        return {}

    async def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        path = self.transport.path(order["to"])
        times = sorted([await self._once(path) for _ in range(order["times"])])
        lost = times.count(PATIENCE)
        p50, p99 = (times[int(len(times) * share)] * 1e6 for share in (0.5, 0.99))
        return {"p50": p50, "p99": p99, "lost": lost}

    async def _once(self, path: Path) -> float:
        """Seconds of a round trip; `PATIENCE` where nothing comes back."""
        await asyncio.sleep(PAUSE)
        self._answered = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        path.send([QUESTION])
        try:
            async with asyncio.timeout(PATIENCE):
                await self._answered
        except TimeoutError:
            return PATIENCE
        return time.perf_counter() - began


def make(what: dict[str, Any], state: FilePath) -> Transport:
    """The transport that a plugin provides, in this process or in a child of its own."""
    context = TransportContext(
        settings=what["settings"],
        clock=SystemClock(),
        entropy=os.urandom,
        metrics=Metrics(),
        log=logging.getLogger("transport"),
        sockets=SystemSockets(),
        state=state,
        node_key=PrivateKey.generate().public(NodeKey),
        map=NetworkMap(),
        local_addresses=lambda: ("127.0.0.1",),
    )
    if what["isolated"]:
        return IsolatedTransport(what["plugin"], what["transport"], context)
    plugin = entry_points(group="ghostwire.plugins")[what["plugin"]].load()
    provider = next(each for each in plugin.ghostwire_transports() if each.name == what["transport"])
    settings = msgspec.convert(what["settings"], plugin.Settings)
    made: Transport = provider.create(msgspec.structs.replace(context, settings=settings))
    return made


async def run(what: dict[str, Any], state: FilePath) -> None:
    loop = asyncio.get_running_loop()
    end = End(make(what, state))
    await end.transport.start(end.receive)
    while what["listens"] and not end.transport.endpoints():
        await asyncio.sleep(TICK)
    say({"endpoints": list(end.transport.endpoints())})
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        say(await getattr(end, order["do"])(order))
    await end.transport.close()


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def main() -> None:
    what = json.loads(sys.stdin.readline())
    sys.path[:0] = what["import_from"]
    with tempfile.TemporaryDirectory(prefix="ghostwire-bench-") as state:
        uvloop.run(run(what, FilePath(state)))


if __name__ == "__main__":
    main()
