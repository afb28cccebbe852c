"""`python -m benchmarks.tunnel [--json] [--seconds N] [--rounds N]`: ours and wireguard-go in turn, medians."""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.report import Report, say
from benchmarks.tunnel.load import measure, round_trips
from benchmarks.tunnel.namespaces import Side, two_namespaces
from benchmarks.tunnel.tunnels import MTU, Tunnel, ours, wireguard_go

UNITS = {
    "tcp": "Gbit/s",
    "packets_per_second": "1/s",
    "latency_p50": "us added",
    "latency_p99": "us added",
    "cpu": "s/GB per side",
    "rss": "MB per side",
}
LESS_IS_BETTER = {"latency_p50", "latency_p99", "cpu", "rss"}
NEEDED = {"ip": "iproute2", "iperf3": "iperf3", "wireguard-go": "wireguard-go", "wg": "wireguard-tools"}
DEBIANS = "wireguard-go (Debian)"
RULES = 100
POLICED = f"ours, {RULES} rules"
Results = dict[str, list[dict[str, float]]]


def main() -> None:
    options = _options()
    _install_what_is_missing()
    tunnels: dict[str, Tunnel] = {
        "ours": ours,
        POLICED: functools.partial(ours, rules=RULES),
        DEBIANS: wireguard_go("wireguard-go"),
    }
    if current := _current_wireguard_go():
        tunnels["wireguard-go current"] = wireguard_go(current)
    if os.getloadavg()[0] > 0.5:
        say(f"this machine is busy (load {os.getloadavg()[0]:.1f}): of all figures only cpu and rss can be trusted")
    with two_namespaces() as (left, right):
        results = _measure(tunnels, left, right, options.seconds, options.rounds)
    report = Report(f"tunnel, MTU {MTU}, medians of {options.rounds}")
    _add(report, DEBIANS, "", results)
    if current:
        _add(report, "wireguard-go current", "_current", results)
    _compare(report, ("tcp", "cpu"), "_policed", results, (POLICED, "ours"))
    report.print(as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.tunnel", description=__doc__)
    parser.add_argument("--json", action="store_true", default=os.environ.get("JSON") == "1")
    parser.add_argument("--seconds", type=int, default=5, help="of TCP in each round")
    parser.add_argument("--rounds", type=int, default=3, help="of all tunnels in turn")
    return parser.parse_args()


def _install_what_is_missing() -> None:
    if os.geteuid():
        sys.exit("error: benchmarks/tunnel makes network namespaces: run it as root")
    missing = [package for program, package in NEEDED.items() if not shutil.which(program)]
    if missing:
        say(f"installing {' '.join(missing)}")
        command = ["apt-get", "install", "-qq", "--no-install-recommends", *missing]
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        )
        if done.returncode:
            sys.exit(f"error: cannot install {' '.join(missing)}: install them and run again")


def _current_wireguard_go() -> str | None:
    """Build it where a Go toolchain is at hand, once; None where that is not so."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ghostwire-bench"
    program = cache / "wireguard"
    if program.exists():
        return str(program)
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if not go:
        return None
    say("building a current wireguard-go")
    environment = {**os.environ, "GOBIN": str(cache), "GOFLAGS": "-mod=mod"}
    done = subprocess.run(
        [go, "install", "golang.zx2c4.com/wireguard@latest"], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        say(f"cannot build a current wireguard-go, going on without: {done.stderr.strip().splitlines()[-1:]}")
        return None
    return str(program)


def _measure(tunnels: dict[str, Tunnel], left: Side, right: Side, seconds: int, rounds: int) -> Results:
    results: Results = {name: [] for name in tunnels}
    for number in range(rounds):
        bare = round_trips(left, right, right.link)
        for name, tunnel in tunnels.items():
            with tunnel(left, right) as pair:
                values = measure(left, right, pair, seconds)
            values["latency_p50"] -= bare[0]
            values["latency_p99"] -= bare[1]
            results[name].append(values)
            say(f"round {number + 1}/{rounds}  {name:24}{values['tcp']:8.3f} Gbit/s")
    return results


def _add(report: Report, peer: str, suffix: str, results: Results) -> None:
    _compare(report, UNITS, suffix, results, ("ours", peer))


def _compare(report: Report, metrics: Iterable[str], suffix: str, results: Results, between: tuple[str, str]) -> None:
    """The medians of one tunnel beside those of another."""
    for metric in metrics:
        mine, theirs = (statistics.median(run[metric] for run in results[name]) for name in between)
        less = metric in LESS_IS_BETTER
        report.add(metric + suffix, mine, UNITS[metric], less_is_better=less, peer=theirs, peer_name=between[1])


if __name__ == "__main__":
    main()
