"""How benchmarks print: a table for people, JSON lines for programs (``--json``), one row a measurement.

    report = Report("tunnel", ["--json"])
    report.add("tcp", ours=1.9, unit="Gbit/s", peer=1.6, peer_name="wireguard-go")
    report.note("both in the same two namespaces, MTU 1280")
    report.print()

A row is ``{"benchmark", "metric", "value", "unit"}`` and, where something was measured beside ours, ``"peer"`` and
``"peer_value"``; further named details come along as they are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any


class Report:
    """Collects measurements of one benchmark; `print` shows them in the way the command line asks for."""

    def __init__(self, benchmark: str, arguments: Sequence[str] | None = None) -> None:
        self.benchmark = benchmark
        self.json = "--json" in (sys.argv[1:] if arguments is None else arguments)
        self.rows: list[dict[str, Any]] = []
        self.notes: list[str] = []

    def add(
        self, metric: str, ours: float, unit: str, *, peer: float | None = None, peer_name: str = "", **details: Any
    ) -> None:
        """One measurement of ours, and the peer's in the same run where there is one."""
        row: dict[str, Any] = {"benchmark": self.benchmark, "metric": metric, "value": round(ours, 4), "unit": unit}
        if peer is not None:
            row |= {"peer": peer_name, "peer_value": round(peer, 4)}
        self.rows.append(row | details)

    def note(self, text: str) -> None:
        """A line below the table: what was done, and how it is to be read."""
        self.notes.append(text)

    def progress(self, text: str) -> None:
        """A line for the person who waits, kept out of what programs read."""
        print(text, file=sys.stderr, flush=True)

    def print(self) -> None:
        """All rows."""
        if self.json:
            for row in self.rows:
                print(json.dumps(row))
            return
        print(f"{self.benchmark:24}{'ours':>12}  {'unit':<10}{'peer':>12}  ours/peer")
        for row in self.rows:
            print(_line(row))
        for note in self.notes:
            print(f"  {note}")


def _line(row: dict[str, Any]) -> str:
    text = f"{row['metric']:24}{_number(row['value']):>12}  {row['unit']:<10}"
    if "peer_value" not in row:
        return text.rstrip()
    ratio = f"{row['value'] / row['peer_value']:.2f}" if row["peer_value"] else "-"
    return f"{text}{_number(row['peer_value']):>12}  {ratio} ({row['peer']})"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
