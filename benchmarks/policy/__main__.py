"""`python -m benchmarks.policy [--json] [--nodes N]`: a policy compiled to labels, beside each node compiled alone.

Times are of one processor: what else this machine does at the moment does not count.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable
from statistics import median, quantiles
from time import process_time
from typing import TypeVar

from benchmarks.policy.naive import Naive
from benchmarks.policy.world import World
from benchmarks.report import Report, say

from ghostwire.capabilities.policy import CompiledPolicy
from ghostwire.capabilities.storage import Change, Commit, Snapshot
from ghostwire.server.maps import Maps
from ghostwire.server.policy.bearers import all_bearers
from ghostwire.server.policy.open import DenyAll
from ghostwire.server.policy.policies import PACE
from ghostwire.server.views.fanout import Fanout
from ghostwire.wire.messages import PROTOCOL
from ghostwire_policy_acl.engine import AclEngine
from ghostwire_policy_acl.settings import Settings

PEER = "naive: all nodes' filters anew"
DONE = object()
T = TypeVar("T")
JOINS = 300
COMPILE_FLOOR, JOIN_FLOOR = 1000.0, 2.0
"""Milliseconds that compiling, with parsing, and a join may take."""


class Watching:
    """A connected node that takes whatever it is sent."""

    pending = 0
    protocol = PROTOCOL

    def __init__(self, node: int) -> None:
        self.id, self.position, self.greeted = node, None, False
        self.frames = self.bytes = 0

    def push(self, frame: bytes) -> bool:
        """Count it."""
        self.frames, self.bytes = self.frames + 1, self.bytes + len(frame)
        return True

    def fail(self) -> None:
        """No viewer may fail here."""
        raise SystemExit("error: a viewer could not be served; see the log")


class Bench:
    """One mesh, whose nodes are all connected."""

    def __init__(self, nodes: int) -> None:
        self.world, self.engine = World(nodes), AclEngine(Settings())
        self.maps = Maps(DenyAll(), "bench", lambda: 2)
        records = (*self.world.users, *self.world.nodes, *self.world.routes)
        self.maps.load(Snapshot(1, b"", 2, records), ())
        self.fanout = Fanout(self.maps)
        self.streams = [Watching(node.id) for node in self.world.nodes]

    def connect(self) -> None:
        """Let every node watch, and have its map."""
        for stream in self.streams:
            self.fanout.add(stream)
        self.serve()

    def serve(self) -> int:
        """One round; how many frames went out."""
        before, made = self.fanout.frames, {}
        for box in self.fanout.due():
            self.fanout.serve(box, made)
        return self.fanout.frames - before

    def join(self, number: int) -> tuple[float, int, float]:
        """A new node: milliseconds until it is known whom to tell, how many are, and microseconds for each of these."""
        node = self.world.node(len(self.world.nodes) + number)
        commit = Commit(1 + number, b"", (Change(type(node), node.id, node),))
        took, _ = timed(lambda: self.maps.apply(commit))
        begun = process_time()
        told = self.serve()
        return took, told, (process_time() - begun) * 1e6 / max(told, 1)

    def edit(self) -> tuple[float, float, int, float]:
        """One rule edited: milliseconds with and without parsing, how many nodes were looked at anew, and milliseconds
        for which nobody else's work got its turn at the longest."""
        text = self.world.with_a_rule_edited()
        parse, policy = timed(lambda: self.engine.compile(text))
        steps = self.maps.adopting(policy)
        times = [timed(lambda: next(steps, DONE))]
        while times[-1][1] is not DONE:
            times.append(timed(lambda: next(steps, DONE)))
        self.maps.settled()
        self.serve()
        adopt, longest = sum(took for took, _ in times), max(took for took, _ in times)
        return parse + adopt, adopt, self.maps.examined, longest + PACE * 1e3


def main() -> None:
    options = _options()
    report = Report(f"a policy of 2,000 rules and a mesh of {options.nodes} nodes, all connected")
    say(f"making a mesh of {options.nodes} nodes")
    bench = Bench(options.nodes)
    gc.freeze()
    parse, policy = timed(lambda: bench.engine.compile(bench.world.text))
    adopt, _ = timed(lambda: bench.maps.adopt(policy))
    say("the same the plain way: each node's filters by themselves, at the start and when one node joins")
    compiled, joined = _naive(bench, policy)
    _beside(report, "compile_ms", adopt, compiled)
    _beside(report, "compile_with_parsing_ms", parse + adopt, parse + compiled)
    say(f"every node gets its map, then {JOINS} join")
    bench.connect()
    joins = [bench.join(number) for number in range(1, JOINS + 1)]
    times, audiences, costs = zip(*joins, strict=True)
    p99 = quantiles(times, n=100)[98]
    _beside(report, "join_ms", median(times), joined)
    report.add("join_p99_ms", p99, "ms", less_is_better=True)
    report.add("join_audience", median(audiences), "streams")
    report.add("join_audience_most", max(audiences), "streams")
    report.add("frame_us", median(costs), "us a stream", less_is_better=True)
    parsed, adopted, examined, longest = bench.edit()
    _beside(report, "edit_ms", adopted, compiled)
    _beside(report, "edit_with_parsing_ms", parsed, parse + compiled)
    report.add("edit_longest_block_ms", longest, "ms", less_is_better=True)
    nodes = float(options.nodes + JOINS)
    report.add("edit_reexamined_nodes", examined, "nodes", less_is_better=True, peer=nodes, peer_name=PEER)
    report.print(as_json=options.json)
    if parse + adopt >= COMPILE_FLOOR or p99 >= JOIN_FLOOR:
        say(f"below the floor: compiling takes at most {COMPILE_FLOOR:.0f} ms, a join {JOIN_FLOOR:.0f} ms")
        sys.exit(1)


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Milliseconds of a processor that it takes, and what comes of it."""
    begun = process_time()
    made = work()
    return (process_time() - begun) * 1e3, made


def _naive(bench: Bench, policy: CompiledPolicy) -> tuple[float, float]:
    """Milliseconds to compile every node by itself; and to do so again because one more joined."""
    world = bench.world
    bearers = list(all_bearers(world.nodes, world.users, world.routes).values())

    def compile_() -> Naive:
        naive = Naive(policy, bearers)
        naive.compile()
        return naive

    compiled, naive = timed(compile_)
    joined, _ = timed(lambda: naive.join(bearers[0]))
    return compiled, joined


def _beside(report: Report, metric: str, ours: float, peer: float) -> None:
    report.add(metric, ours, "ms", less_is_better=True, peer=peer, peer_name=PEER)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.policy", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--nodes", type=int, default=10_000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
