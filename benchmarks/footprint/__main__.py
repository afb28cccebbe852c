"""`python -m benchmarks.footprint [--json] [--peers N] [--seconds N]`: our node and wireguard-go, both idle."""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.footprint.crowd import crowd
from benchmarks.footprint.process import cpu_share, rss
from benchmarks.report import Report, say

from ghostwire.cli.demo.cast import Node, Server, close, wait_for
from ghostwire.cli.demo.stage import Place, Stage
from ghostwire.wire.jointoken import JoinToken

SETTLE = 5.0  # seconds of the last joins' work, which is not idleness
PEER = "wireguard-go"


def main() -> None:
    options = _options()
    stage = Stage()
    with tempfile.TemporaryDirectory(prefix="ghostwire-bench-") as folder, contextlib.closing(stage):
        ours = asyncio.run(_node(stage, Path(folder), options.peers, options.seconds))
        peer = _wireguard_go(stage, options.peers, options.seconds)
    report = Report(f"idle with {options.peers} peers, over {options.seconds:.0f} s")
    for index, (metric, unit) in enumerate((("rss", "MB"), ("idle_cpu", "% of a core"))):
        beside = {"peer": peer[index], "peer_name": PEER} if peer else {}
        report.add(metric, ours[index], unit, less_is_better=True, **beside)
    report.print(as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.footprint", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20, help="over which processor time is measured")
    return parser.parse_args()


async def _node(stage: Stage, folder: Path, peers: int, seconds: float) -> tuple[float, float]:
    """Resident MB and per cent of a core of a real node daemon."""
    server, node = Server(stage, stage.place("server"), folder), Node(stage, stage.place("node"), folder)
    outside = stage.place("crowd")
    try:
        server.start()
        node.start()
        token = JoinToken.parse(server.join_token("bench"))
        say(f"enrolling {peers} nodes")
        with stage.inside(outside):  # the loop's sockets are made there; the programs have their places already
            async with crowd(token, peers):
                await asyncio.to_thread(node.join, token.encode())
                await asyncio.to_thread(wait_for, "the node knows all", lambda: node.is_running_with(peers))
                say("letting it settle, then measuring")
                await asyncio.sleep(SETTLE)
                assert node.process is not None
                used = await asyncio.to_thread(cpu_share, node.process.pid, seconds)
                return rss(node.process.pid), used
    finally:
        close([server, node])


def _wireguard_go(stage: Stage, peers: int, seconds: float) -> tuple[float, float] | None:
    """The same of wireguard-go with so many peers; None where it is not installed."""
    if not (shutil.which(PEER) and shutil.which("wg")):
        say("wireguard-go or wg is missing: apt-get install --no-install-recommends wireguard-go wireguard-tools")
        return None
    with _running_wireguard_go(stage, stage.place("peer"), peers) as pid:
        say(f"measuring {PEER}")
        return rss(pid), cpu_share(pid, seconds)


@contextlib.contextmanager
def _running_wireguard_go(stage: Stage, place: Place, peers: int) -> Iterator[int]:
    name = f"wgf{os.getpid() % 100000}"  # its sockets share one folder of the machine
    with stage.inside(place):
        process = subprocess.Popen([PEER, "-f", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for("wireguard-go is there", lambda: os.path.exists(f"/var/run/wireguard/{name}.sock"))
            settings = "".join(map(_peer, range(peers)))
            subprocess.run(["wg", "setconf", name, "/dev/stdin"], input=settings, text=True, check=True)
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
            yield process.pid
        finally:
            process.terminate()
            process.wait()


def _peer(number: int) -> str:
    key = base64.b64encode(os.urandom(32)).decode()
    where = f"198.51.100.{number % 250 + 1}:41641"
    return f"[Peer]\nPublicKey = {key}\nEndpoint = {where}\nAllowedIPs = 100.64.{number // 250}.{number % 250 + 2}/32\n"


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("error: benchmarks/footprint measures a program with a TUN device: run it as root")
    main()
