"""`python -m benchmarks.enrol [--json] [--seconds N]`: registrations at a real server, 50 clients in parallel.

One registration is all that a machine does to join by a reusable pre-auth key: TCP, HTTP Upgrade, Noise handshake,
hello with its proof and the key, until the server's Welcome, which it sends once the node is durable on disk.

    saturated   every client begins the next as soon as it is in      -> registrations
    paced       the 50 clients together begin 1,000 a second          -> p99_ms, a late start counting as delay

Machine and node keys are made beforehand, as a machine has them before it joins. There is no peer: nobody else speaks
this protocol.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.enrol.joiner import Crowd
from benchmarks.report import Report, say

from ghostwire.cli.api_client import ServerApi
from ghostwire.folders import Folders
from ghostwire.wire.jointoken import JoinToken

CLIENTS = 50
RATE = 1000
MOST = 4000
"""Registrations a second that keys are made for."""


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="ghostwire-bench-") as folder, _server(Path(folder)) as pid:
        token = _join_token(Path(folder))
        _saturated(token, 0.5)
        say("saturated")
        before = _cpu_seconds(pid)
        rate, crowded = _saturated(token, options.seconds)
        spent = (_cpu_seconds(pid) - before) / len(crowded)
        say(f"paced at {RATE} a second")
        pace, calm = _paced(token, options.seconds)
    report = Report(f"enrolment, {CLIENTS} clients in parallel, {options.seconds:.0f} s each")
    report.add("registrations", rate, "1/s", p99_ms=_p99(crowded), server_cpu_ms=round(spent * 1000, 3))
    report.add("p99_ms", _p99(calm), "ms", less_is_better=True, rate=round(pace, 1), p50_ms=_p50(calm))
    report.print(as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.enrol")
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each load")
    return parser.parse_args()


@contextlib.contextmanager
def _server(state: Path) -> Iterator[int]:
    """A server process on loopback that is ready; its process id."""
    program = Path(sys.executable).with_name("ghostwire")
    command = [program, "--state", state, "server", "--listen", "127.0.0.1:0", "--no-tls"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    try:
        if b"ready" not in process.stdout.readline():
            raise SystemExit("error: the server did not start; run `ghostwire server` to see why")
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        process.stdout.close()


def _join_token(state: Path) -> JoinToken:
    made = ServerApi(Folders(state, client=True)).post("/api/v1/preauthkeys", {"reusable": True})
    return JoinToken.parse(made["token"])


def _saturated(token: JoinToken, seconds: float) -> tuple[float, list[float]]:
    """Registrations per second, and each one's latency in seconds."""
    crowd = Crowd(token, int(seconds * MOST) + CLIENTS)
    began = time.perf_counter()
    crowd.saturate(CLIENTS, seconds)
    return len(crowd.latencies) / (time.perf_counter() - began), crowd.latencies


def _paced(token: JoinToken, seconds: float) -> tuple[float, list[float]]:
    crowd = Crowd(token, int(seconds * RATE))
    began = time.perf_counter()
    crowd.pace(CLIENTS, int(seconds * RATE), RATE)
    return len(crowd.latencies) / (time.perf_counter() - began), crowd.latencies


def _cpu_seconds(pid: int) -> float:
    """On a core, all threads."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _p99(latencies: list[float]) -> float:
    return round(statistics.quantiles(latencies, n=100)[98] * 1000, 3)


def _p50(latencies: list[float]) -> float:
    return round(statistics.median(latencies) * 1000, 3)


if __name__ == "__main__":
    main()
