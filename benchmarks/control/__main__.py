"""`python -m benchmarks.control [--json] [--quick]`: a real server, and thousands of nodes connected to it.

Every node speaks the whole protocol (TCP, TLS where the server has it, HTTP Upgrade, Noise, hello with its proof, map,
reports, keepalives) in one process with nothing but epoll, from source addresses of its own. They were enrolled by the
server's own code before. Each sees the 100 of its group, or, in rows of ``allow_all``, everybody.

    sizes     changes one after the other (a join, a leave, a new name, another home relay) at each number of nodes:
              the server's processor time, bytes, and when the last one concerned knows     -> ..._growth, change_...
    requests  beside all who are connected: registrations, each on a connection of its own, and map requests, each over
              the stream of a connected node, in equal parts: as many as can be, then 1,000 a second; also each alone,
              and nodes that come back with nothing                    -> requests..., map_requests, reconnects
    restart   the server ends, five nodes of each group get other names, all come back      -> resume_...
    storm     6 of 600 reconnect in a tight loop; who is told anything by that              -> storm_...

Processor time is the server's own, all threads, without what it uses while nothing changes. There is no peer: nobody
else speaks this protocol.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.control.changes import Changes, Cost
from benchmarks.control.crowd import Crowd
from benchmarks.control.loads import RATE, SPARE, Load, Requests, restart, storm
from benchmarks.control.member import Member
from benchmarks.control.place import ALLOW_ALL, Place
from benchmarks.report import Report, say

from ghostwire.server.relays.regions import FIRST
from ghostwire.system.resources import raise_descriptors

SIZES, QUICK_SIZES = (100, 1000, 5000, 10_000), (100, 1000)
STORM, RESTLESS = 600, 6
VISITORS = 2000
MIXES = {"": 10, "half_": 2}
"""Of how many requests one is a registration, by what the row's name begins with."""
HOME = FIRST
"""The region of the server's own relay."""


class Bench:
    """All parts, on one state folder that grows."""

    def __init__(self, place: Place, report: Report, options: argparse.Namespace) -> None:
        self.place, self.report, self.options = place, report, options
        self.quick: bool = options.quick
        self.sizes: Sequence[int] = options.sizes or (QUICK_SIZES if self.quick else SIZES)
        self.costs: dict[int, Cost] = {}
        self.renames: dict[int, Cost] = {}

    def run(self) -> None:
        """Everything, the smallest mesh first."""
        for size in sorted({*self.sizes, STORM}):
            self.place.grow(size)
            if size == STORM:
                self._storm()
            if size in self.sizes:
                self._size(size)
        self._growth()
        self._without_tls(self.sizes[-1])

    def _size(self, size: int) -> None:
        last = size == self.sizes[-1]
        visitors = self._visitors() if last else []
        members = self.place.members[:size]
        with self._connected(members, tls=True) as crowd:
            self._changes(crowd, members, str(size))
            if last:
                self._requests(crowd, members, visitors, "")
                self._restart(crowd, members, tls=True, prefix="")
        if size == self.sizes[min(1, len(self.sizes) - 1)]:
            self._allow_all(members)

    def _visitors(self) -> list[Member]:
        held = len(self.place.members)
        self.place.grow(held + VISITORS)
        return self.place.members[held:]

    @contextmanager
    def _connected(self, members: Sequence[Member], *, tls: bool, prefix: str = "") -> Iterator[Crowd]:
        name = f"{prefix}{len(members)}"
        self.place.start(tls=tls)
        crowd = Crowd(self.place.target)
        try:
            for member in members:
                member.cursor = None
            before, began = self.place.cpu(), time.perf_counter()
            crowd.connect(members, home=HOME)
            self.report.add(f"connect_{name}", len(members) / (time.perf_counter() - began), "1/s")
            cpu = (self.place.cpu() - before) * 1e3 / len(members)
            self.report.add(f"connect_cpu_ms_{name}", cpu, "ms", less_is_better=True)
            crowd.rest(2.0)
            self.report.add(f"rss_{name}", self.place.rss(), "MB", less_is_better=True)
            say(f"{name} nodes are connected, each sees {members[-1].sees} others (pid {self.place.pid})")
            yield crowd
        finally:
            crowd.close_all()
            self.place.stop()

    def _changes(self, crowd: Crowd, members: Sequence[Member], name: str, *, everyone: bool = False) -> None:
        changes = Changes(self.place, crowd, list(members), everyone=everyone)
        costs = changes.measure(8 if self.quick or everyone else 25)
        total = sum(costs.values(), Cost())
        if not everyone:
            self.costs[len(members)], self.renames[len(members)] = total, costs["rename"]
        add = self.report.add
        for kind, cost in costs.items():
            add(f"{kind}_cpu_us_{name}", cost.cpu_us, "us a stream", less_is_better=True)
            add(f"{kind}_bytes_{name}", cost.bytes_each, "B a stream", less_is_better=True)
            add(f"{kind}_p99_ms_{name}", _quantile(cost.latencies, 99), "ms", less_is_better=True)
        add(f"change_cpu_ms_{name}", total.cpu * 1e3 / total.changes, "ms", less_is_better=True)
        add(f"change_p50_ms_{name}", _quantile(total.latencies, 50), "ms", less_is_better=True)
        add(f"change_p99_ms_{name}", _quantile(total.latencies, 99), "ms", less_is_better=True)
        add(f"idle_cpu_{name}", changes.idle * 100, "% of a core", less_is_better=True)

    def _requests(self, crowd: Crowd, members: Sequence[Member], visitors: Sequence[Member], prefix: str) -> None:
        requests, seconds = Requests(self.place, crowd, members, visitors), 2.0 if self.quick else 4.0
        for kind in (requests.registrations, requests.reconnects, requests.map_requests):
            self._load(f"{prefix}{kind.__name__}", requests.saturate(kind, seconds))
        for mix, one_in in MIXES.items():
            kind, name = partial(requests.mixed, one_in=one_in), f"{prefix}{mix}requests"
            most = requests.saturate(kind, seconds)
            calm = requests.pace(kind, min(RATE, SPARE * most.rate), seconds)
            self.report.add(name, most.rate, "1/s")
            self.report.add(f"{name}_pace", calm.rate, "1/s")
            self.report.add(f"{name}_cpu_ms", calm.cpu * 1e3, "ms", less_is_better=True)
            self.report.add(f"{name}_p50_ms", _quantile(calm.latencies, 50), "ms", less_is_better=True)
            self.report.add(f"{name}_p99_ms", _quantile(calm.latencies, 99), "ms", less_is_better=True)

    def _load(self, name: str, load: Load) -> None:
        self.report.add(name, load.rate, "1/s")
        self.report.add(f"{name}_cpu_ms", load.cpu * 1e3, "ms", less_is_better=True)
        self.report.add(f"{name}_p99_ms", _quantile(load.latencies, 99), "ms", less_is_better=True)

    def _restart(self, crowd: Crowd, members: Sequence[Member], *, tls: bool, prefix: str) -> None:
        resumed = restart(self.place, crowd, members, tls=tls, home=HOME)
        missed = self.renames[len(members)].bytes_each * resumed.missed
        self.report.add(f"{prefix}restart_ready_s", resumed.ready, "s", less_is_better=True)
        self.report.add(f"{prefix}resume_s", resumed.seconds, "s", less_is_better=True)
        self.report.add(f"{prefix}resume_bytes_factor", resumed.bytes / missed, "times", less_is_better=True)
        self.report.add(f"{prefix}resume_cpu_s", resumed.cpu, "s", less_is_better=True)

    def _allow_all(self, members: Sequence[Member]) -> None:
        self.place.start(tls=True)
        self.place.set_policy(ALLOW_ALL)
        self.place.stop()
        with self._connected(members, tls=True, prefix="allow_all_") as crowd:
            self._changes(crowd, members, f"allow_all_{len(members)}", everyone=True)
            self.place.set_policy()

    def _storm(self) -> None:
        members = self.place.members[:STORM]
        with self._connected(members, tls=True, prefix="storm_") as crowd:
            seconds = 10.0 if self.quick else 90.0
            unrest = storm(self.place, crowd, members[:: STORM // RESTLESS][:RESTLESS], seconds, HOME)
        self.report.add("storm_sessions", unrest.sessions / seconds, "1/s")
        self.report.add("storm_cpu", unrest.cpu * 100, "% of a core", less_is_better=True)
        self.report.add("storm_frames", unrest.frames, "frames", less_is_better=True)

    def _growth(self) -> None:
        small, large = (self.costs[size] for size in (self.sizes[0], self.sizes[-1]))
        self.report.add("cpu_per_change_growth", large.cpu_us / small.cpu_us, "times", less_is_better=True)
        self.report.add("bytes_per_change_growth", large.bytes_each / small.bytes_each, "times", less_is_better=True)
        self.report.add("change_p99_ms", _quantile(large.latencies, 99), "ms", less_is_better=True)

    def _without_tls(self, size: int) -> None:
        members = self.place.members[:size]
        visitors = self.place.members[size : size + VISITORS]
        with self._connected(members, tls=False, prefix="no_tls_") as crowd:
            self._requests(crowd, members, visitors, "no_tls_")
            self._restart(crowd, members, tls=False, prefix="no_tls_")


def main() -> None:
    options = _options()
    raise_descriptors()
    gc.disable()  # its pauses would count as the server's
    report = Report("the control plane")
    with tempfile.TemporaryDirectory(prefix="ghostwire-bench-") as folder:
        place = Place(Path(folder), max(SIZES) + VISITORS)
        try:
            place.prepare()
            Bench(place, report, options).run()
        finally:
            place.stop()
    report.print(as_json=options.json)


def _quantile(seconds: Sequence[float], percent: int) -> float:
    """In milliseconds."""
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1] * 1e3


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.control")
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    parser.add_argument("--quick", action="store_true", help="at most 1,000 nodes, a storm of 10 s")
    parser.add_argument("--sizes", type=int, nargs="+", metavar="N", help="other numbers of connected nodes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
