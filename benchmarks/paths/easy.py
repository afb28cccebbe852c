"""Cold starts between two sites whose routers map predictably: our nodes, and `tailcat`, which is stock magicsock."""

from __future__ import annotations

import asyncio
import queue
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import say
from coldstart import cold_start, ends
from natlab import Lab
from programs import Mesh, Relay
from stock import MapServer, Tailcat, derp_map, find_tailcat

KIND = "port_restricted"
SITES = 4
PATIENCE = 10.0
LISTENERS, ASKERS = ([f"{letter}{number}x1" for number in range(SITES)] for letter in "ab")


@dataclass(frozen=True)
class Start:
    """Milliseconds from the first packet to its answer, and until data goes directly."""

    first_packet: float
    direct: float


def easy(folder: Path) -> tuple[list[Start], list[Start]]:
    """Ours and tailcat's, each between every two of `SITES` x `SITES` sites, one after the other; the second is empty
    without tailcat."""
    with Lab() as lab:
        lab.host("open", "10.50.0.41")
        for member in (*LISTENERS, *ASKERS):
            lab.site(member[:-1], KIND)
        mesh = Mesh(lab, folder, *LISTENERS, *ASKERS, port=443)
        mesh.start_server()
        mesh.enrol_many(*LISTENERS, *ASKERS)
        say(f"{SITES * SITES} cold starts of ours")
        ours = asyncio.run(_ours(mesh))
        for node in mesh.nodes.values():
            node.end()
        return ours, list(_tailcats(lab, folder)) if find_tailcat() else []


async def _ours(mesh: Mesh) -> list[Start]:
    starts = []
    with ends(mesh.lab, list(mesh.nodes.values())) as all_ends:
        for one in ASKERS:
            for other in LISTENERS:
                found = await cold_start(all_ends[one], all_ends[other], patience=PATIENCE)
                if found.answered is None or found.direct is None:
                    raise RuntimeError(f"{one} and {other} did not get direct: {found}")
                starts.append(Start(found.answered * 1000, found.direct * 1000))
    return starts


def _tailcats(lab: Lab, folder: Path) -> Iterator[Start]:
    """Over an open relay of ours, since a mesh's admits its nodes alone."""
    say(f"{SITES * SITES} cold starts of tailcat")
    relay = Relay(lab, "open", folder, 443)
    relay.start()
    document = derp_map(relay.address, 443, relay.pin)
    maps = [MapServer(lab, member, document) for member in (*LISTENERS, *ASKERS)]
    try:
        for other in LISTENERS:
            with Tailcat(lab, other, folder) as listener:
                listener.ready()
                for one in ASKERS:
                    if start := _watched(listener.begin(one, "ping", "--until-direct", "--timeout=10s")):
                        yield start
    finally:
        for server in maps:
            server.close()


def _watched(process: subprocess.Popen[str]) -> Start | None:
    """By when it says so. None where it gave up: it introduces itself in one packet, which may get lost."""
    lines: queue.SimpleQueue[tuple[float, str]] = queue.SimpleQueue()
    readers = [threading.Thread(target=_read, args=(stream, lines)) for stream in (process.stdout, process.stderr)]
    for reader in readers:
        reader.start()
    process.wait()
    for reader in readers:
        reader.join()
    said = sorted(lines.get_nowait() for _ in range(lines.qsize()))
    began, answered, direct = (_first(said, text) for text in ("sending TSMP ping", "pong in ", " now using "))
    if began is None or answered is None or direct is None:
        return None
    return Start((answered - began) * 1000, max(0.0, (direct - began) * 1000))


def _read(stream: Iterator[str], lines: queue.SimpleQueue[tuple[float, str]]) -> None:
    for line in stream:
        lines.put((time.monotonic(), line))


def _first(said: list[tuple[float, str]], text: str) -> float | None:
    return next((at for at, line in said if text in line), None)
