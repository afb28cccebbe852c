"""What a process holds in its memory: every readable page of it is searched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

PROC = Path("/proc")
PIECE = 4 << 20
_LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r\S* \S+ \S+ \S+ *(.*)")
_NOT_MEMORY = ("[vvar", "[vsyscall]")


def family(pid: int) -> list[int]:
    """The process and all that it started."""
    children = [int(child) for task in (PROC / str(pid) / "task").iterdir() for child in _children(task)]
    return [pid, *(member for child in children for member in family(child))]


def _children(task: Path) -> list[str]:
    return (task / "children").read_text().split()


def held(pid: int, needles: Mapping[str, bytes]) -> set[str]:
    """The names of those that the process, or one that it started, holds somewhere."""
    longest = max(map(len, needles.values()))
    found: set[str] = set()
    for member in family(pid):
        for piece in _pieces(member, longest - 1):
            found |= {name for name, needle in needles.items() if needle in piece}
    return found


def _pieces(pid: int, overlap: int) -> Iterator[bytes]:
    """All memory of the process; what lies across the edge of two pieces is in the second of them."""
    with (PROC / str(pid) / "mem").open("rb", buffering=0) as memory:
        for begin, end in _ranges(pid):
            tail = b""
            for at in range(begin, end, PIECE):
                memory.seek(at)
                try:
                    piece = memory.read(min(PIECE, end - at))
                except OSError:  # a page that is mapped and cannot be had: a file's beyond its end
                    piece = b""
                yield tail + piece
                tail = piece[-overlap:]


def _ranges(pid: int) -> Iterator[tuple[int, int]]:
    for line in (PROC / str(pid) / "maps").read_text().splitlines():
        match = _LINE.fullmatch(line)
        if match and not match[3].startswith(_NOT_MEMORY):
            yield int(match[1], 16), int(match[2], 16)
