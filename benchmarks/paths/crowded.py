"""What a real node costs that knows many peers and talks to a few of them.

The node and its active peers are daemons of their own on one switch, so their paths are direct; the other peers are
control sessions alone, held by this process. Each active peer asks once a second for an echo.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.footprint.crowd import crowd
from benchmarks.footprint.process import cpu_share
from benchmarks.report import say

from ghostwire.cli.demo.cast import Node, Server, close, wait_for
from ghostwire.cli.demo.stage import Stage
from ghostwire.wire.jointoken import JoinToken

SETTLE = 10.0  # seconds of the joins' and searches' last work
LONG = 120.0


async def busy_cpu(stage: Stage, folder: Path, peers: int, active: int, seconds: float) -> float:
    """Per cent of a core of the node."""
    server, node = Server(stage, stage.place("server"), folder), Node(stage, stage.place("node"), folder)
    talkers = [Node(stage, stage.place(f"active{number}"), folder) for number in range(active)]
    outside = stage.place("crowd")
    try:
        server.start()
        token = JoinToken.parse(server.join_token("bench"))
        say(f"enrolling {peers - active} silent nodes")
        with stage.inside(outside):
            async with crowd(token, peers - active):
                await asyncio.to_thread(_join, [node, *talkers], token.encode(), peers)
                with _talking(stage, talkers, node.addresses()[0]):
                    names = [talker.place.name for talker in talkers]
                    await asyncio.to_thread(wait_for, "all are direct", lambda: _direct(node, names), patience=LONG)
                    say("letting it settle, then measuring")
                    await asyncio.sleep(SETTLE)
                    assert node.process is not None
                    return await asyncio.to_thread(cpu_share, node.process.pid, seconds)
    finally:
        close([server, node, *talkers])


def _join(nodes: list[Node], token: str, peers: int) -> None:
    say(f"enrolling {len(nodes)} real ones")
    for node in nodes:
        node.spawn()
    with ThreadPoolExecutor(4) as workers:
        list(workers.map(lambda node: (node.ready(), node.join(token)), nodes))
    for node in nodes:
        wait_for(f"{node.place.name} knows all", lambda: node.is_running_with(peers), patience=LONG)  # noqa: B023


@contextlib.contextmanager
def _talking(stage: Stage, talkers: list[Node], address: str) -> Iterator[None]:
    pings = []
    for talker in talkers:
        with stage.inside(talker.place):
            pings.append(subprocess.Popen(["ping", "-q", "-i", "1", address], stdout=subprocess.DEVNULL))
    try:
        yield
    finally:
        for ping in pings:
            ping.terminate()
            ping.wait()


def _direct(node: Node, names: list[str]) -> bool:
    paths = {peer["name"]: peer["path"] for peer in node.status()["peers"]}
    return all(paths[name] and not paths[name]["relayed"] for name in names)
