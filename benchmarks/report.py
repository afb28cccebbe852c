"""How benchmarks print: a table for people, JSON lines for programs; one row a measurement.

    report = Report("footprint")
    report.add("rss", 43.1, "MB", less_is_better=True, peer=8.9, peer_name="wireguard-go")
    report.print(as_json=True)

A row is ``{"metric", "unit", "ours", "peer", "peer_name", "ratio"}``. The ratio is above 1 where ours is ahead; the
last three are null where nothing else did the same work in the same run.
"""

from __future__ import annotations

import json
import sys
from typing import Any


class Report:
    """Collects the measurements of one benchmark."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.rows: list[dict[str, Any]] = []

    def add(
        self,
        metric: str,
        ours: float,
        unit: str,
        *,
        less_is_better: bool = False,
        peer: float | None = None,
        peer_name: str | None = None,
    ) -> None:
        """One measurement of ours, and the peer's where there is one."""
        row: dict[str, Any] = {"metric": metric, "unit": unit, "ours": round(ours, 3)}
        row |= {"peer": None, "peer_name": peer_name, "ratio": None}
        if peer is not None:
            better, worse = (peer, ours) if less_is_better else (ours, peer)
            row["peer"], row["ratio"] = round(peer, 3), round(better / worse, 3) if worse > 0 else None
        self.rows.append(row)

    def print(self, *, as_json: bool) -> None:
        """All rows on standard output."""
        if as_json:
            print("\n".join(map(json.dumps, self.rows)))
            return
        print(f"\n{self.title}; ratio above 1: ours is ahead")
        print(f"{'metric':28}{'ours':>12}{'peer':>12}{'ratio':>8}  unit, peer")
        for row in self.rows:
            print(_line(row))


def say(text: str) -> None:
    """A line for the person who waits, kept out of what programs read."""
    print(text, file=sys.stderr, flush=True)


def _line(row: dict[str, Any]) -> str:
    peer, ratio, name = ("-" if row[key] is None else row[key] for key in ("peer", "ratio", "peer_name"))
    return f"{row['metric']:28}{row['ours']:>12}{peer!s:>12}{ratio!s:>8}  {row['unit']}, {name}".rstrip(", -")
