"""`python -m tests.cluster.sabotage [NAME...]`: the nemesis against servers that were broken on purpose.

Each is a copy of the storage plugin in a scratch folder with one thing wrong; the report says which rules caught it.
Exit code 1 where one got away.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.cluster import nemesis

PLUGIN = Path(__file__).parents[2] / "plugins" / "storage_sql" / "ghostwire_storage_sql"

ENDS = '            _rows(self._connected(), *told, "COMMIT")\n'
SABOTAGE: dict[str, tuple[str, str, str]] = {
    "the counter row is not locked": ("statements.py", ".with_for_update()", ""),
    "works do not see what others wrote": (
        "postgres.py",
        "        self._apply(commits)\n        self.memory.take(settings, held)\n",
        "        self.revision = revision\n",
    ),
    "one commit in ten is undone and acknowledged": (
        "postgres.py",
        ENDS,
        "            lost = commit is not None and commit.revision % 10 == 0 and self.entropy(1)[0] < 128\n"
        '            _rows(self._connected(), *told, "ROLLBACK" if lost else "COMMIT")\n',
    ),
    "a lost answer to COMMIT counts as success": (
        "postgres.py",
        "if not self._lost(error) or not self._came_through(commit):",
        "if not self._lost(error):",
    ),
    "a lost answer to COMMIT counts as a refusal": (
        "postgres.py",
        "            if not self._lost(error) or not self._came_through(commit):\n                raise\n",
        "            from ghostwire.errors import Conflict\n            raise Conflict('not stored') from error\n",
    ),
    "commits are acknowledged before they are durable": (
        "postgres.py",
        "            self.cursor = self._link.cursor()\n",
        "            self.cursor = self._link.cursor()\n"
        '            self._link.execute("SET synchronous_commit = off")\n',
    ),
    "one commit in twenty is not logged": (
        "database.py",
        "        self._execute(self.sql.add_log, rows)\n",
        "        self._execute(self.sql.add_log, [] if commit.revision % 20 == 0 else rows)\n",
    ),
    "what others wrote is not told": (
        "postgres.py",
        "        self._answered = time.monotonic()\n        return commits\n\n    def read(",
        "        self._answered = time.monotonic()\n        return []\n\n    def read(",
    ),
}


def broken(name: str, folder: Path) -> Path:
    """A folder to look for modules in first, where this is wrong."""
    file, right, wrong = SABOTAGE[name]
    copy = folder / PLUGIN.name
    shutil.copytree(PLUGIN, copy, ignore=shutil.ignore_patterns("__pycache__"))
    text = (copy / file).read_text()
    assert text.count(right) == 1, f"{name}: {file} is no longer as it was"
    (copy / file).write_text(text.replace(right, wrong))
    return folder


async def caught(name: str, minutes: float, seed: int) -> dict[str, str]:
    """The rules that it broke, each with its first case."""
    with tempfile.TemporaryDirectory(prefix="gwsabotage", ignore_cleanup_errors=True) as kept:
        folder = Path(kept)
        (folder / "site").mkdir()
        path = broken(name, folder / "site")
        made, _ = await nemesis.run(folder, minutes, seed, path=str(path), ruthless=True)
    return made.history.violations


def main() -> None:
    """Run by hand."""
    parser = argparse.ArgumentParser("tests.cluster.sabotage")
    parser.add_argument("names", nargs="*", default=list(SABOTAGE))
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    free = []
    for name in options.names:
        try:
            found = asyncio.run(caught(name, options.minutes, options.seed))
        except AssertionError as error:
            found = {"the members come in at all": str(error)}
        print(f"{name}:", flush=True)
        print("\n".join(f"    {rule}: {detail[:160]}" for rule, detail in found.items()) or "    GOT AWAY", flush=True)
        free += [] if found else [name]
    raise SystemExit(bool(free))


if __name__ == "__main__":
    main()
