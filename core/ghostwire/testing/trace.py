"""What went over a simulated network, and how it reads as a sequence diagram when a test fails."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ghostwire.engine import MILLISECOND

KEPT = 4_000
"""The most datagrams a trace remembers; older ones are forgotten."""
COLUMN = 26
_WIREGUARD = {1: "initiation", 2: "response", 3: "cookie", 4: "data"}


@dataclass(slots=True)
class Sighting:
    """One datagram: who sent it to whom (names of hosts, or an address nobody has), when, and what became of it."""

    time: int
    source: str
    target: str
    payload: bytes
    fate: str = ""


def describe(payload: bytes) -> str:
    """What kind of datagram this is: WireGuard's message types, disco, STUN, or just its length."""
    if payload[:6] == b"TS\xf0\x9f\x92\xac":
        return "disco"
    if len(payload) >= 20 and payload[4:8] == b"\x21\x12\xa4\x42":
        return "STUN"
    if len(payload) >= 32 and payload[0] in _WIREGUARD and not any(payload[1:4]):
        return "keepalive" if payload[0] == 4 and len(payload) == 32 else _WIREGUARD[payload[0]]
    return "datagram"


class Trace:
    """The last `KEPT` datagrams, oldest first."""

    def __init__(self, kept: int = KEPT) -> None:
        self._seen: deque[Sighting] = deque(maxlen=kept)

    def add(self, sighting: Sighting) -> None:
        """Remember a datagram."""
        self._seen.append(sighting)

    def __iter__(self) -> Iterator[Sighting]:
        return iter(self._seen)

    def __len__(self) -> int:
        return len(self._seen)

    def clear(self) -> None:
        """Forget all."""
        self._seen.clear()

    def diagram(self, last: int = 60, kind: Callable[[bytes], str] = describe) -> str:
        """The last datagrams as text: a column a host, an arrow a datagram, ``x`` where it ended early."""
        shown = list(self._seen)[-last:]
        columns = {name: COLUMN * at for at, name in enumerate(_names(shown))}
        head = " " * 14 + "".join(name[: COLUMN - 2].ljust(COLUMN) for name in columns)
        return "\n".join([head.rstrip(), *(_line(sighting, columns, kind) for sighting in shown)])


def _names(sightings: Iterable[Sighting]) -> list[str]:
    return list(dict.fromkeys(name for seen in sightings for name in (seen.source, seen.target)))


def _line(seen: Sighting, columns: dict[str, int], kind: Callable[[bytes], str]) -> str:
    start, end = columns[seen.source], columns[seen.target]
    left, right = min(start, end), max(start, end)
    lives = [" "] * (max(columns.values()) + 1)
    for column in columns.values():
        lives[column] = "|"
    label = f" {kind(seen.payload)} {len(seen.payload)} B "
    arrow = list(label.center(max(right - left - 1, len(label)), "-"))
    tip = "x" if seen.fate else ">" if end > start else "<"
    arrow[-1 if end >= start else 0] = tip
    lives[left + 1 : left + 1 + len(arrow)] = arrow
    return f"{seen.time / MILLISECOND:10.3f} ms {''.join(lives)}" + (f"  ({seen.fate})" if seen.fate else "")
