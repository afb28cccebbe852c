"""How results are shown: rich tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

UNBOUNDED = 500  # columns where nobody looks: a pipe's tables are never cut

as_json = click.option("--json", "json_", is_flag=True, help="Print JSON for programs.")
"""The ``--json`` option of every command that shows something; the parameter is ``json_``."""


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """A table; ``empty`` is printed instead of one without rows. Cells are text, never markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    if table.row_count:
        _console().print(table)
    else:
        click.echo(empty)


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Names and values below each other; fields without a value are left out."""
    shown = [(name, value) for name, value in fields if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{name:{width}}  {plain(value)}")


def plain(text: str) -> str:
    """The text without what could drive a terminal: names come from other machines."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def age(then: float | None, *, now: float | None = None) -> str:
    """``5 s ago``, ``3 min ago``; ``never`` for None or 0. Times are Unix seconds."""
    if not then:
        return "never"
    seconds = int((time.time() if now is None else now) - then)
    return "now" if abs(seconds) < 1 else f"{span(seconds)} ago" if seconds > 0 else f"in {span(-seconds)}"


def span(seconds: float) -> str:
    """A length of time in its largest unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: float) -> str:
    """A number of bytes: ``512 B``, ``1.5 KiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def joined(values: Iterable[Any]) -> str:
    """Values in one cell."""
    return ", ".join(map(str, values))


def _console() -> Console:
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=UNBOUNDED)
