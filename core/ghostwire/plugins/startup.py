"""Code that Python runs at the start of every program of this environment, the daemon too: lines of `.pth` files."""

from __future__ import annotations

import site
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

from ghostwire.hints import one_line

MOST: Final = 256
"""Files that are looked at."""
LONGEST: Final = 64 << 10
"""Bytes of a file that are looked at."""
EXPECTED: Final = frozenset({"ghostwire-mesh", "setuptools"})
"""Distributions whose code runs there anyway, or that every environment has."""


def folders() -> Sequence[Path]:
    """Where Python looks for them."""
    users = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return [Path(each) for each in (*site.getsitepackages(), *users)]


def startup_code(within: Iterable[Path]) -> Iterator[str]:
    """A sentence for each `.pth` file in these folders that executes code: its name, and who installed it."""
    for folder in within:
        found = [path for path in sorted(folder.glob("*.pth"))[:MOST] if _executes(path)]
        records = _records(folder) if found else {}
        for path in found:
            owner = next((name for name, record in records.items() if f"\n{path.name}," in record), "")
            if owner not in EXPECTED:
                whose = f"{owner} brings {path.name}" if owner else f"no distribution says that it brings {path.name}"
                yield one_line(f"{whose} in {folder}, which Python runs in every program that starts, GhostWire too")


def _executes(path: Path) -> bool:
    """Whether any line is one that Python does not take for a folder's name."""
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST + 1)
    except OSError:
        return False
    return len(text) > LONGEST or any(line.startswith((b"import ", b"import\t")) for line in text.splitlines())


def _records(folder: Path) -> dict[str, str]:
    """What pip noted of each distribution's files, by its name."""
    return {_name(each): f"\n{each.read_text('RECORD') or ''}" for each in distributions(path=[str(folder)])}


def _name(distribution: Distribution) -> str:
    return str(distribution.metadata["Name"] or "?").lower().replace("_", "-")
