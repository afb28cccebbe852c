"""A disk that takes no more: whatever the node keeps says so in one line, and what was kept stays."""

import subprocess
import sys
from pathlib import Path

LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
"""No file grows any more: the kernel refuses every write, as on a full disk."""

ROUTING = """
from pathlib import Path
from ghostwire.errors import StateError
from ghostwire.node.routing.preferences import KeptPreferences, Preferences
kept = KeptPreferences(Path("."))
kept.remember(Preferences(advertised=("10.1.0.0/16",)))
LIMIT
try:
    kept.remember(Preferences(advertised=("10.2.0.0/16",)))
except StateError as error:
    print(error)
print(KeptPreferences(Path(".")).value.advertised)
"""
NAMES = """
import logging
from pathlib import Path
from ghostwire.system.remembered import Remembered
logging.basicConfig(format="%(message)s")
names = Remembered(Path("names.json"))
names.remember("a.example", ["192.0.2.1"])
LIMIT
for number in (2, 3):
    names.remember("a.example", [f"192.0.2.{number}"])
print(*names.addresses("a.example"))
print(*Remembered(Path("names.json")).addresses("a.example"))
"""


def run(program: str, folder: Path) -> tuple[list[str], list[str]]:
    """The lines that it prints, and those on stderr."""
    code = program.replace("LIMIT\n", LIMIT)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr.splitlines()


def test_what_a_person_wants_of_routes_is_refused_in_one_line_and_stays_as_it_was(tmp_path):
    said, _ = run(ROUTING, tmp_path)
    assert said == ["routing.json: cannot write: File too large", "('10.1.0.0/16',)"]
    assert [path.name for path in tmp_path.iterdir()] == ["routing.json"]


def test_where_names_lead_is_remembered_in_memory_and_said_once(tmp_path):
    said, warned = run(NAMES, tmp_path)
    assert said == ["192.0.2.3", "192.0.2.1"]
    assert warned == ["names.json: cannot write: File too large; where names lead is forgotten at the next restart"]
    assert [path.name for path in tmp_path.iterdir()] == ["names.json"]
