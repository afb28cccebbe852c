"""On which line each key of a TOML document is set, which no TOML library tells."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

KeyPath = tuple[str, ...]


def key_lines(text: str) -> dict[KeyPath, int]:
    """Map the path of every table and key in a valid document to the line, from 1, where it first appears.

    Elements of an array of tables share one path. A statement is the shortest run of lines that parses alone.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for start, statement in _statements(text):
        paths = list(_paths(tomllib.loads(statement)))
        if statement.lstrip().startswith("["):
            table = paths[-1]
        else:
            paths = [table + path for path in paths]
        for path in paths:
            lines.setdefault(path, start)
    return lines


def line_of(lines: dict[KeyPath, int], path: KeyPath) -> int:
    """The line of this key, or of the nearest table around it; 0 where neither is in the document."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 0)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    pending, start = "", 1
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        pending = f"{pending}\n{line}" if pending else line
        if _parses(pending):
            yield start, pending
            pending, start = "", number + 1


def _parses(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Every table and key inside, parents first."""
    if isinstance(value, list):
        for element in value:
            yield from _paths(element, path)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from _paths(inner, (*path, key))
