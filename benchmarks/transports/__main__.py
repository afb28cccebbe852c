"""`python -m benchmarks.transports [--json] [--seconds N] [--part NAME...]`: every transport, in process and isolated.

Two processes on loopback: bursts of 64 datagrams of 1312 bytes, as fast as they go (Gbit/s and datagrams that arrive a
second), one small datagram and its answer at a time (latency), and half the maximum (seconds of processor a Gbit, of
both ends). Of derp the relay is measured, by the generator of benchmarks/relay. ``mesh`` is what users feel of
isolation: TCP through the whole tunnel over udp, between two namespaces (as root); ``isolated_ratio`` is what it keeps
of its throughput, ``isolated_ratio_NAME`` what a transport alone keeps that is flooded with one burst
again and again. A part is the name of a group of rows: udp, quic, quic_aioquic, websocket, derp, mesh; also by
PART=quic,udp.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.relay.relays import derper, derper_version, find_derper, ours
from benchmarks.relay.scenarios import Scenarios
from benchmarks.report import Report, say
from benchmarks.transports import peers
from benchmarks.transports.pair import ROOT, Kind, Metrics, measure
from benchmarks.tunnel import tunnels
from benchmarks.tunnel.load import gigabits
from benchmarks.tunnel.namespaces import two_namespaces

Peer = Callable[[float], float | None]
EXAMPLE = ROOT / "examples" / "ghostwire-websocket"
UNITS = {"packets_per_second": "1/s", "latency_p50": "us there and back", "latency_p99": "us there and back"}
DERP, MESH = "derp", "mesh"
AIM = 0.7
"""Of the throughput in process, isolated transports are to carry so much."""
MESH_ROUNDS = 3


@dataclass(frozen=True)
class Part:
    """A transport, and who does the same work."""

    kind: Kind
    peer: Peer
    peer_name: str


def main() -> None:
    options = _options()
    report = Report(f"transports, 1312 bytes a datagram, {options.seconds:g} s each")
    ratios: dict[str, float] = {}
    chosen = options.part or [*PARTS, DERP, MESH]
    for name in (name for name in PARTS if name in chosen):
        with PARTS[name]() as part:
            found = _measure(name, part, options.seconds)
            theirs = part.peer(options.seconds)
        _add(report, name, part, found, theirs)
        if found[True]:
            ratios[name] = found[True]["gigabits"] / found[False]["gigabits"]
    if DERP in chosen:
        _add_derp(report, options.seconds)
    for name, ratio in ratios.items():
        report.add(f"isolated_ratio_{name}", ratio, "of the Gbit/s in process", peer=AIM, peer_name="the aim")
    if MESH in chosen:
        _add_mesh(report, max(2, round(options.seconds)))
    report.print(as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.transports", description=__doc__)
    parser.add_argument("--json", action="store_true", default=os.environ.get("JSON") == "1")
    parser.add_argument("--seconds", type=float, default=2.0, help="that count of every measurement")
    chosen = [name for name in os.environ.get("PART", "").split(",") if name]
    parser.add_argument("--part", nargs="*", choices=[*PARTS, DERP, MESH], default=chosen)
    options = parser.parse_args()
    if unknown := set(options.part) - {*PARTS, DERP, MESH}:
        parser.error(f"no part named {', '.join(unknown)}; there are: {', '.join([*PARTS, DERP, MESH])}")
    return options


def _measure(name: str, part: Part, seconds: float) -> dict[bool, Metrics]:
    """In process and isolated; a way that fails is said and left out."""
    found: dict[bool, Metrics] = {}
    for isolated in (False, True):
        way = "isolated" if isolated else "in process"
        try:
            found[isolated] = measure(part.kind, isolated=isolated, seconds=seconds)
        except RuntimeError as error:
            if not isolated:
                raise
            found[isolated] = {}
            say(f"{name} {way}: {error}")
        else:
            say(f"{name} {way}: {found[isolated]['gigabits']:.3f} Gbit/s")
    return found


def _add(report: Report, name: str, part: Part, found: dict[bool, Metrics], theirs: float | None) -> None:
    for isolated, metrics in found.items():
        if not metrics:
            continue
        prefix = f"{name}_isolated" if isolated else name
        peer = part.peer_name if theirs is not None else None
        report.add(prefix, metrics["gigabits"], "Gbit/s", peer=theirs, peer_name=peer)
        for metric, unit in UNITS.items():
            report.add(f"{prefix}_{metric}", metrics[metric], unit, less_is_better=metric.startswith("latency"))
        report.add(f"{prefix}_cpu", metrics["cpu"], "s/Gbit of both ends", less_is_better=True)


def _add_derp(report: Report, seconds: float) -> None:
    """One flow through our relay, and through the stock derper where there is one."""
    program = find_derper()
    found = {}
    for relay in [ours(), *([derper(program)] if program else [])]:
        with relay(False) as running:
            found[relay] = Scenarios(seconds).one_flow(running)
    mine, *theirs = found.values()
    name = f"derper {derper_version(program)}" if program else None
    report.add("derp", mine["one_flow"], "Gbit/s", peer=theirs[0]["one_flow"] if theirs else None, peer_name=name)
    cost = [each["cpu"] / 8 for each in (mine, *theirs)]
    less: dict[str, Any] = {"less_is_better": True, "peer": cost[1] if theirs else None, "peer_name": name}
    report.add("derp_cpu", cost[0], "s/Gbit of the relay", **less)


def _add_mesh(report: Report, seconds: int) -> None:
    """TCP through the tunnel, its transport in process and isolated in turn; medians."""
    if os.geteuid():
        say("mesh is left out: it makes network namespaces, which takes root")
        return
    found: dict[bool, list[float]] = {False: [], True: []}
    with two_namespaces() as (left, right):
        for isolated in (False, True) * MESH_ROUNDS:
            with tunnels.ours(left, right, isolated=isolated):
                found[isolated].append(gigabits(left, right, seconds))
            say(f"mesh {'isolated' if isolated else 'in process'}: {found[isolated][-1]:.3f} Gbit/s")
    inside, outside = (statistics.median(each) for each in found.values())
    report.add("mesh", inside, "Gbit/s of TCP")
    report.add("mesh_isolated", outside, "Gbit/s of TCP")
    report.add("isolated_ratio", outside / inside, "of a mesh's Gbit/s", peer=AIM, peer_name="the aim")


@contextlib.contextmanager
def _udp() -> Iterator[Part]:
    yield Part(Kind("transport_wireguard", "udp", {"port": 0}), peers.iperf3, "iperf3 -u")


def _quic(library: str) -> Callable[[], contextlib.AbstractContextManager[Part]]:
    @contextlib.contextmanager
    def part() -> Iterator[Part]:
        kind = Kind("transport_quic", "quic", {"port": 0, "library": library})
        yield Part(kind, peers.aioquic, "aioquic's asyncio client and server")

    return part


@contextlib.contextmanager
def _websocket() -> Iterator[Part]:
    """The example distribution is installed into a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ghostwire-bench-") as folder:
        words = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", folder]
        subprocess.run([*words, str(EXAMPLE)], check=True)
        with socket.socket() as one, socket.socket() as other:
            for free in (one, other):
                free.bind(("127.0.0.1", 0))
            port, dialler = one.getsockname()[1], other.getsockname()[1]
        # the dialling end names the URL, too: only ports in its settings may a confined plugin reach on its own machine
        settings = {"plain": True, "listen": f"127.0.0.1:{dialler}", "url": f"ws://127.0.0.1:{port}/"}
        kind = Kind("websocket", "websocket", settings, {"listen": f"127.0.0.1:{port}"}, (folder,))
        yield Part(kind, peers.websockets, "websockets' client and server")


PARTS: dict[str, Callable[[], contextlib.AbstractContextManager[Part]]] = {
    "udp": _udp,
    "quic": _quic("qh3"),
    "quic_aioquic": _quic("aioquic"),
    "websocket": _websocket,
}

if __name__ == "__main__":
    main()
