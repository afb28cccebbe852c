"""`python -m benchmarks.relay [--json] [--seconds N] [--rounds N]`: ours and the stock derper in turn, medians.

Relay, generator and latency probe share the same two cores, whichever relay it is. Goodput is the payload that arrives
at the offered rate at which most arrives; that rate is looked for. ``latency`` and ``loss_at_1_gbit`` are those of 1
Gbit/s among 1,000 connected clients, ``latency_half`` of half the relay's own maximum, ``latency_full`` of the maximum.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.relay.pipe import ceiling
from benchmarks.relay.relays import Relay, derper, derper_version, find_derper, ours
from benchmarks.relay.scenarios import PAYLOAD, SMALL, Metrics, Scenarios
from benchmarks.report import Report, say

CORES, FILES, WORKERS = 2, 8192, 2
BUSY = ": of all figures only memory can be trusted"
MORE_IS_BETTER = {
    **dict.fromkeys(("one_flow", "all_to_all", "clients_1000", "one_flow_tls"), "Gbit/s"),
    f"all_to_all_workers_{WORKERS}": "Gbit/s",
    "frames_per_second": "1/s",
    "overload_goodput_ratio": "of the maximum, at twice its load",
    "unpaced_goodput_ratio": "of the maximum, senders unlimited",
}
LESS_IS_BETTER = {
    **{f"latency{load}_p{share}_ms": "ms added" for load in ("", "_half", "_full") for share in (50, 99)},
    **{f"{name}_loss": "% of frames" for name in ("one_flow", "all_to_all", "clients_1000", "one_flow_tls")},
    "loss_at_1_gbit": "% of frames",
    "cpu": "s/GB, one flow",
    "memory_base_mb": "MB",
    "memory_per_client_kb": "KB",
    "memory_loaded_mb": "MB",
}


def main() -> None:
    options = _options()
    _share_cores()
    program = find_derper()
    relays: dict[str, Relay] = {"ours": ours()} | ({"peer": derper(program)} if program else {})
    name = f"derper {derper_version(program)}" if program else None
    if not program:
        say("no derper here: go install tailscale.com/cmd/derper@v1.102.0, or name one by GHOSTWIRE_DERPER")
    say(f"the generator alone: {ceiling(options.seconds):.1f} Gbit/s through a pipe")
    with _watching_others():
        found = _measure(relays, options.rounds, options.seconds)
    report = Report(f"relay, {PAYLOAD} bytes (frames_per_second: {SMALL}), medians of {options.rounds}")
    for metric, unit in (MORE_IS_BETTER | LESS_IS_BETTER).items():
        mine, theirs = (_median(found.get(side, []), metric) for side in ("ours", "peer"))
        if mine is not None:
            less = metric in LESS_IS_BETTER
            report.add(metric, mine, unit, less_is_better=less, peer=theirs, peer_name=name)
    report.print(as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.relay", description=__doc__)
    parser.add_argument("--json", action="store_true", default=os.environ.get("JSON") == "1")
    parser.add_argument("--seconds", type=float, default=1.25, help="that count of every measurement")
    parser.add_argument("--rounds", type=int, default=2, help="of all relays in turn")
    return parser.parse_args()


def _share_cores() -> None:
    """Two cores for all that is started from here, and files enough for a thousand clients."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, most), most))


@contextlib.contextmanager
def _watching_others() -> Iterator[None]:
    """Say how much of the cores other programs used meanwhile."""
    began, before = time.monotonic(), _used_by_others()
    yield
    used = (_used_by_others() - before) / (time.monotonic() - began)
    say(f"other programs used {max(0, used):.2f} of {CORES} cores meanwhile" + (BUSY if used > 0.1 else ""))


def _used_by_others() -> float:
    """Seconds that our cores worked for anything but this program and those it started and has waited for."""
    cores = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    worked = sum(int(field) for line in lines if line[0] in cores for field in (*line[1:4], *line[6:9]))
    return worked / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def _measure(relays: dict[str, Relay], rounds: int, seconds: float) -> dict[str, list[Metrics]]:
    scenarios = {name: Scenarios(seconds) for name in relays}
    found: dict[str, list[Metrics]] = {name: [] for name in relays}
    for number in range(rounds):
        for name, relay in relays.items():
            say(f"round {number + 1}: {name}")
            found[name].append(_all_of(relay, scenarios[name]))
    several = Scenarios(seconds)
    for number in range(rounds):
        say(f"round {number + 1}: ours with {WORKERS} workers")
        with ours(WORKERS)(False) as running:
            found["ours"][number][f"all_to_all_workers_{WORKERS}"] = several.all_to_all(running)["all_to_all"]
    for metrics in found.get("peer", []):
        metrics[f"all_to_all_workers_{WORKERS}"] = metrics["all_to_all"]  # it uses all cores in any case
    return found


def _all_of(relay: Relay, scenarios: Scenarios) -> Metrics:
    with relay(False) as running:
        metrics = scenarios.crowd(running)
    with relay(False) as running:
        metrics |= scenarios.one_flow(running) | scenarios.small_packets(running) | scenarios.all_to_all(running)
    with relay(True) as running:
        return metrics | scenarios.one_flow_tls(running)


def _median(rounds: list[Metrics], metric: str) -> float | None:
    values = [metrics[metric] for metrics in rounds if metric in metrics]
    return statistics.median(values) if values else None


if __name__ == "__main__":
    main()
