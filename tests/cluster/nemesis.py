"""`python -m tests.cluster.nemesis --minutes N --seed N`: real servers on a real PostgreSQL under random faults.

Exit code 1 where a rule was broken; the report names each, the faults and the operations. ``--keep`` leaves the folder.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.cluster import checks
from tests.cluster.faults import Nemesis
from tests.cluster.history import History
from tests.cluster.world import World, now, world

import postgres

CALM = 3.0
"""Seconds before the first fault, and after the last."""
RARELY, OFTEN = 0.06, 0.3
"""How often the database goes, of all faults."""


async def run(
    folder: Path, minutes: float, seed: int, *, say: bool = False, path: str = "", ruthless: bool = False
) -> tuple[World, Nemesis]:
    """One run; servers look for modules in ``path`` first. ``ruthless``: the database is killed often."""
    began = now()
    environment = {"PYTHONPATH": path} if path else {}

    def tell(line: str) -> None:
        if say:
            print(f"{now() - began:7.1f}  {line}", flush=True)

    with postgres.running(durable=True) as cluster:
        async with world(folder, cluster, seed, environment=environment) as made:
            tell(f"{len(made.members)} members are in")
            nemesis = Nemesis(made, cluster, tell, OFTEN if ruthless else RARELY)
            made.begin()
            await asyncio.sleep(CALM)
            await nemesis.run(now() + 60 * minutes)
            await asyncio.sleep(CALM)
            await made.rest()
            tell("at rest")
            await checks.at_rest(made)
            return made, nemesis


def report(made: World, nemesis: Nemesis) -> str:
    """What was done, what came of it, what was wrong."""
    history = made.history
    waits = sorted(history.waits)
    by_kind = Counter((each.kind, each.outcome) for each in history.operations)
    lines = ["faults:     " + ", ".join(f"{count} {name}" for name, count in sorted(nemesis.done.items()))]
    lines += [f"machines:   {len(made.members)}, {sum(bool(each.id) for each in made.members)} let in"]
    lines += [f"revisions:  {made.log.revision}"]
    for kind in dict.fromkeys(each.kind for each in history.operations):
        counts = [f"{by_kind[kind, outcome]} {outcome}" for outcome in ("ok", "failed", "unknown")]
        lines.append(f"{kind + ':':20}{', '.join(counts)}")
    if len(waits) > 1:
        lines.append(
            f"without a session:  p50 {statistics.median(waits):.1f} s, most {waits[-1]:.1f} s, {len(waits)} times"
        )
    lines += [f"  {name}: {count}" for name, count in sorted(history.counts.items())]
    return "\n".join([*lines, verdict(history)])


def verdict(history: History) -> str:
    """Each broken rule with its first case."""
    if not history.violations:
        return "no rule was broken"
    return "BROKEN:\n" + "\n".join(f"- {rule}: {detail[:1500]}" for rule, detail in history.violations.items())


def main() -> None:
    """Run by hand."""
    parser = argparse.ArgumentParser("tests.cluster.nemesis")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--path", default="", help="where the servers look for modules first")
    parser.add_argument("--keep", action="store_true", help="leave the servers' folders and logs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gwnemesis", ignore_cleanup_errors=True) as kept:
        folder = Path(tempfile.mkdtemp(prefix="gwnemesis")) if options.keep else Path(kept)
        print(f"seed {options.seed}, {options.minutes} min, {folder}", flush=True)
        made, nemesis = asyncio.run(run(folder, options.minutes, options.seed, say=True, path=options.path))
    print(report(made, nemesis))
    raise SystemExit(bool(made.history.violations))


if __name__ == "__main__":
    main()
