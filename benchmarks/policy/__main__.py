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

from benchmarks.policy.naive import Naive
from benchmarks.policy.world import World
from benchmarks.report import Report, say

from ghostwire.capabilities.policy import CompiledPolicy
from ghostwire.capabilities.storage import Change, Commit, Snapshot
from ghostwire.server.maps import Maps
from ghostwire.server.policy.bearers import all_bearers
from ghostwire.server.policy.open import DenyAll
from ghostwire.server.views.fanout import Fanout
from ghostwire_policy_acl.engine import AclEngine
from ghostwire_policy_acl.settings import Settings

PEER = "naive per-node compilation"
SAMPLE = 20
"""Nodes that the naive way compiles; the figure is for as many as there are."""
JOINS = 300
COMPILE_FLOOR, JOIN_FLOOR = 1000.0, 2.0
"""Milliseconds that compiling, with parsing, and a join may take."""


class Watching:
    """A connected node that takes whatever it is sent."""

    pending = 0

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
        took = timed(lambda: self.maps.apply(commit))
        begun = process_time()
        told = self.serve()
        return took, told, (process_time() - begun) * 1e6 / max(told, 1)

    def edit(self) -> tuple[float, float, int]:
        """One rule edited: milliseconds with and without parsing, and how many nodes were looked at anew."""
        text, compiled = self.world.with_a_rule_edited(), list[CompiledPolicy]()
        parse = timed(lambda: compiled.append(self.engine.compile(text)))
        adopt = timed(lambda: self.maps.adopt(compiled[0]))
        self.serve()
        return parse + adopt, adopt, self.maps.examined


def main() -> None:
    options = _options()
    report = Report(f"a policy of 2,000 rules and a mesh of {options.nodes} nodes, all connected")
    say(f"making a mesh of {options.nodes} nodes")
    bench, compiled = Bench(options.nodes), list[CompiledPolicy]()
    gc.freeze()
    parse = timed(lambda: compiled.append(bench.engine.compile(bench.world.text)))
    adopt = timed(lambda: bench.maps.adopt(compiled[0]))
    say("the same, node by node")
    naive = _naive(bench, compiled[0])
    report.add("compile_parsed_ms", parse + adopt, "ms", less_is_better=True, peer=parse + naive, peer_name=PEER)
    report.add("compile_ms", adopt, "ms", less_is_better=True, peer=naive, peer_name=PEER)
    say("every node gets its map")
    bench.connect()
    joins = [bench.join(number) for number in range(1, JOINS + 1)]
    times, audiences, costs = zip(*joins, strict=True)
    p99 = quantiles(times, n=100)[98]
    report.add("join_ms", median(times), "ms", less_is_better=True, peer=naive, peer_name=PEER)
    report.add("join_p99_ms", p99, "ms", less_is_better=True, peer=naive, peer_name=PEER)
    report.add("join_audience", median(audiences), "streams")
    report.add("join_audience_most", max(audiences), "streams")
    report.add("frame_us", median(costs), "us a stream", less_is_better=True)
    parsed, adopted, examined = bench.edit()
    report.add("edit_parsed_ms", parsed, "ms", less_is_better=True, peer=parse + naive, peer_name=PEER)
    report.add("edit_ms", adopted, "ms", less_is_better=True, peer=naive, peer_name=PEER)
    report.add("edit_examined", examined, "nodes", less_is_better=True, peer=float(options.nodes), peer_name=PEER)
    report.print(as_json=options.json)
    if parse + adopt >= COMPILE_FLOOR or p99 >= JOIN_FLOOR:
        say(f"below the floor: compiling takes at most {COMPILE_FLOOR:.0f} ms, a join {JOIN_FLOOR:.0f} ms")
        sys.exit(1)


def timed(work: Callable[[], object]) -> float:
    """Milliseconds of a processor that it takes."""
    begun = process_time()
    work()
    return (process_time() - begun) * 1e3


def _naive(bench: Bench, policy: CompiledPolicy) -> float:
    """Milliseconds to compile every node alone, after a sample of them."""
    world = bench.world
    naive = Naive(policy, list(all_bearers(world.nodes, world.users, world.routes).values()))
    sample = range(0, len(world.nodes), max(len(world.nodes) // SAMPLE, 1))
    return timed(lambda: naive.compile(sample)) * len(world.nodes) / len(sample)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.policy", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--nodes", type=int, default=10_000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
