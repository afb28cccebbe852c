"""`python -m benchmarks.enrol [--json] [--seconds N]`: registrations at a real server, 50 clients in parallel.

One registration is all that a machine does to join by a reusable pre-auth key: TCP, HTTP Upgrade, Noise handshake,
hello with its proof and the key, until the server's Welcome, which it sends once the node is durable on disk.

    saturated   every client begins the next as soon as it is in      -> registrations
    paced       they together begin 1,000 a second, or 80 % of what   -> p99_ms, a late start counting as delay
                the server was seen to take where that is less

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
        pace = min(RATE, 0.8 * rate)
        say(f"paced at {pace:.0f} a second")
        calm = _paced(token, pace, options.seconds)
    report = Report(f"enrolment, {CLIENTS} clients in parallel, {options.seconds:.0f} s each")
    report.add("registrations", rate, "1/s")
    report.add("registrations_p99_ms", _p99(crowded), "ms", less_is_better=True)
    report.add("server_cpu_ms", spent * 1000, "ms", less_is_better=True)
    report.add("pace", pace, "1/s")
    report.add("p50_ms", _p50(calm), "ms", less_is_better=True)
    report.add("p99_ms", _p99(calm), "ms", less_is_better=True)
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


def _paced(token: JoinToken, rate: float, seconds: float) -> list[float]:
    """Each registration's latency in seconds."""
    count = int(seconds * rate)
    crowd = Crowd(token, count)
    crowd.pace(CLIENTS, count, rate)
    return crowd.latencies


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
