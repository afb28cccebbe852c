"""Two processes with a transport each on loopback, and what is measured between them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.footprint.process import cpu_time

from ghostwire import BURST, SEALED_MTU

ROOT = Path(__file__).resolve().parents[2]
WARM_UP = 0.5
TIMES = 300
Metrics = dict[str, float]


@dataclass(frozen=True)
class Kind:
    """A transport to measure: who provides it, the settings of both ends, and of the one that is dialled.

    ``modules`` must be importable; ``import_from`` are folders with distributions that are not installed.
    """

    plugin: str
    transport: str
    settings: dict[str, Any] = field(default_factory=dict)
    listening: dict[str, Any] = field(default_factory=dict)
    import_from: tuple[str, ...] = ()


class End:
    """One process of `benchmarks.transports.end`."""

    def __init__(self, kind: Kind, *, isolated: bool, listens: bool) -> None:
        what = {
            "plugin": kind.plugin,
            "transport": kind.transport,
            "settings": kind.settings | (kind.listening if listens else {}),
            "isolated": isolated,
            "listens": listens,
            "import_from": kind.import_from,
        }
        words = [sys.executable, "-m", "benchmarks.transports.end"]
        paths = os.pathsep.join((*kind.import_from, str(ROOT)))
        environment = {**os.environ, "PYTHONPATH": paths}
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )
        self.endpoints: list[str] = self.order(what)["endpoints"]

    def give(self, order: dict[str, Any]) -> None:
        """Tell it what to do."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        """What it says next."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("an end of a transport died")
        return json.loads(line)

    def order(self, order: dict[str, Any]) -> Any:
        """Both."""
        self.give(order)
        return self.answer()

    def close(self) -> None:
        """End it, by force where it does not."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def pair(kind: Kind, *, isolated: bool) -> Iterator[tuple[End, End]]:
    """The end that is dialled, and the one that dials."""
    with contextlib.ExitStack() as stack:
        ends = []
        for listens in (True, False):
            ends.append(End(kind, isolated=isolated, listens=listens))
            stack.callback(ends[-1].close)
        yield ends[0], ends[1]


def measure(kind: Kind, *, isolated: bool, seconds: float) -> Metrics:
    """Round trips at low load first, then as much as goes, then what half of that costs."""
    with pair(kind, isolated=isolated) as (sink, source):
        to = next(each for each in sink.endpoints if "[" not in each)
        source.order({"do": "ask", "to": to, "times": 10})  # whoever dials is there now
        asked = source.order({"do": "ask", "to": to, "times": TIMES})
        most = _flood(sink, source, to, seconds, None)
        half = _flood(sink, source, to, seconds, most["packets_per_second"] / BURST / 2)
    return {
        "gigabits": most["packets_per_second"] * SEALED_MTU * 8 / 1e9,
        "packets_per_second": most["packets_per_second"],
        "latency_p50": asked["p50"],
        "latency_p99": asked["p99"],
        "cpu": half["cpu"] / (half["packets"] * SEALED_MTU * 8 / 1e9) if half["packets"] else float("inf"),
    }


def _flood(sink: End, source: End, to: str, seconds: float, rate: float | None) -> Metrics:
    """What arrives in ``seconds`` at that rate, and the seconds of processor it takes at both ends."""
    pids = (sink.process.pid, source.process.pid)
    source.give({"do": "flood", "to": to, "seconds": seconds + 2 * WARM_UP, "rate": rate})
    time.sleep(WARM_UP)
    began, used, before = time.monotonic(), sum(map(cpu_time, pids)), sink.order({"do": "count"})["datagrams"]
    time.sleep(seconds)
    packets = sink.order({"do": "count"})["datagrams"] - before
    passed, used = time.monotonic() - began, sum(map(cpu_time, pids)) - used
    source.answer()
    return {"packets": packets, "packets_per_second": packets / passed, "cpu": used / 1e9}
