"""`python -m benchmarks.paths [--json] [--only PART]...`: the NAT matrix, cold starts, and what path choice costs.

``pairs_connected`` and ``pairs_direct`` are counted among all ordered pairs of the lab's kinds of router, beside the
number that physics allows (`tests/lab/physics.py`).

``first_packet`` and ``direct`` are of sessions that nobody began before, between two nodes behind ordinary routers,
whose links add no latency: from the first packet to its answer, and until data of both ends goes directly; tailcat's
are by what it says of itself. ``node_1000_peers_20_active_cpu`` is a real daemon's (see `crowded`); ``simulated`` are
of the engine alone on a manual clock (see `simulated`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.paths.crowded import busy_cpu
from benchmarks.paths.easy import Start, easy
from benchmarks.paths.simulated import simulate
from benchmarks.report import Report, say
from matrix import build, measure, possible, table
from natlab import Lab

from ghostwire.cli.demo.stage import Stage

MAGICSOCK = "tailcat (stock magicsock)"
PEERS, ACTIVE, SIMULATED = 1000, 20, 10_000


def main() -> None:
    options = _options()
    report = Report("paths")
    for name, part in _PARTS.items():
        if not options.only or name in options.only:
            with tempfile.TemporaryDirectory(prefix="gwb-") as folder:
                part(report, Path(folder), options)
    report.print(as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.paths", description=__doc__)
    parser.add_argument("--json", action="store_true", default=os.environ.get("JSON") == "1")
    parser.add_argument("--only", action="append", choices=_PARTS, metavar="PART", help=", ".join(_PARTS))
    parser.add_argument("--seconds", type=float, default=20, help="over which processor time is measured")
    return parser.parse_args()


def _matrix(report: Report, folder: Path, options: argparse.Namespace) -> None:
    say("bringing up two nodes behind every kind of router")
    with Lab() as lab:
        cells = asyncio.run(measure(build(lab, folder)))
    say(table(cells))
    connected = {pair for pair, found in cells.items() if found.answered is not None}
    direct = {pair for pair, found in cells.items() if found.direct is not None}
    allowed = {pair for pair in cells if possible(*pair)}
    report.add("pairs_connected", len(connected), "pairs", peer=len(cells), peer_name="physics")
    report.add("pairs_direct", len(direct & allowed), "pairs", peer=len(allowed), peer_name="physics")


def _cold(report: Report, folder: Path, options: argparse.Namespace) -> None:
    ours, theirs = easy(folder)
    for name, figure in _FIGURES.items():
        for suffix, taken in (("", statistics.median), ("_p95", _p95)):
            beside = {"peer": taken(list(map(figure, theirs))), "peer_name": MAGICSOCK} if theirs else {}
            mine = taken(list(map(figure, ours)))
            report.add(f"{name}{suffix}_ms", mine, "ms", less_is_better=True, **beside)


_FIGURES: dict[str, Callable[[Start], float]] = {
    "first_packet": lambda start: start.first_packet,
    "direct": lambda start: start.direct,
}


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def _simulated(report: Report, folder: Path, options: argparse.Namespace) -> None:
    found = simulate(SIMULATED)
    report.add(f"simulated_{SIMULATED}_peers", found.events_per_second, "events/s, all awake")
    report.add(f"simulated_{SIMULATED}_peers_idle", found.idle_timers, "timers", less_is_better=True)


def _crowded(report: Report, folder: Path, options: argparse.Namespace) -> None:
    """The last: this process moves into namespaces of its own."""
    stage = Stage()
    with contextlib.closing(stage):
        used = asyncio.run(busy_cpu(stage, folder, PEERS, ACTIVE, options.seconds))
    report.add(f"node_{PEERS}_peers_{ACTIVE}_active_cpu", used, "% of a core", less_is_better=True)


_PARTS: dict[str, Callable[[Report, Path, argparse.Namespace], None]] = {
    "matrix": _matrix,
    "cold": _cold,
    "simulated": _simulated,
    "crowded": _crowded,
}

if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("error: benchmarks/paths makes network namespaces: run it as root")
    main()
