"""What is sent through a tunnel, and what that costs its two processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.tunnel.namespaces import Side
from benchmarks.tunnel.tunnels import Pair

PACKET_BYTES = 64
ROUND_TRIPS = 2_000
_TICK = os.sysconf("SC_CLK_TCK")


def measure(left: Side, right: Side, pair: Pair, seconds: int) -> dict[str, float]:
    """Every metric of one tunnel that is up, but what its latency adds to the bare link's."""
    before = _cpu_seconds(pair)
    tcp = _iperf(left, right, ["-t", str(seconds)])
    spent = _cpu_seconds(pair) - before
    received = tcp["sum_received"]
    memory = max(_resident_bytes(process) for process in pair)
    packets = _iperf(left, right, ["-u", "-b", "0", "-l", str(PACKET_BYTES), "-t", str(max(1, seconds // 2))])["sum"]
    p50, p99 = round_trips(left, right, right.address)
    return {
        "tcp": received["bits_per_second"] / 1e9,
        "packets_per_second": (packets["packets"] - packets["lost_packets"]) / packets["seconds"],
        "latency_p50": p50,
        "latency_p99": p99,
        "cpu": spent / 2 / (received["bytes"] / 1e9),
        "rss": memory / 1e6,
    }


def gigabits(left: Side, right: Side, seconds: int) -> float:
    """TCP through the tunnel that is up, in Gbit/s."""
    received: float = _iperf(left, right, ["-t", str(seconds)])["sum_received"]["bits_per_second"]
    return received / 1e9


def _iperf(left: Side, right: Side, arguments: list[str]) -> Any:
    """The ``end`` part of iperf3's report on a run from the left to the right side."""
    server = right.start(["iperf3", "-s", "-1", "--forceflush"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout
    with _stopped(server):
        while b"listening" not in server.stdout.readline():
            if server.poll() is not None:
                raise RuntimeError("iperf3 did not start")
        return json.loads(left.run(["iperf3", "-J", "-c", right.address, *arguments]))["end"]


def round_trips(left: Side, right: Side, address: str) -> tuple[float, float]:
    """Median and 99th percentile of UDP round trips to this address, in microseconds."""
    script = [sys.executable, str(Path(__file__).with_name("echo.py"))]
    server = right.start([*script, "serve", address], stdout=subprocess.PIPE)
    assert server.stdout
    with _stopped(server):
        port = server.stdout.readline().decode().strip()
        p50, p99 = json.loads(left.run([*script, "ask", address, port, str(ROUND_TRIPS)]))
        return p50, p99


@contextlib.contextmanager
def _stopped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(10)


def _cpu_seconds(pair: Pair) -> float:
    total = 0
    for process in pair:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICK


def _resident_bytes(process: subprocess.Popen[bytes]) -> int:
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
