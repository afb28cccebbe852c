"""What the engines of all peers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from ghostwire import Activity, Path
from ghostwire.engine import SECOND, Entropy
from ghostwire.node.paths.decisions import Decision
from ghostwire.node.paths.pings import Pings

REMEMBERED: Final = 16
"""Decisions kept for people."""


class State(StrEnum):
    """Where a peer's path choice is (see `peer`)."""

    ASLEEP = "asleep"
    SEARCHING = "searching"
    DOUBTED = "doubted"
    DIRECT = "direct"


@dataclass(slots=True, kw_only=True)
class Shared:
    """Where facts come from, and where decisions go.

    ``activity`` tells when a peer's data moved, ``rank`` a transport's rank by its name. ``known`` gives the direct
    paths that a peer may be reached over, as far as others remember them. ``plain`` says that a peer speaks no disco:
    where it was heard last is its path.
    """

    entropy: Entropy
    activity: Callable[[int], Activity]
    rank: Callable[[str], int]
    known: Callable[[int], Iterable[Path]]
    plain: Callable[[int], bool]
    pings: Pings = field(default_factory=Pings)
    decisions: list[Decision] = field(default_factory=list)


def name(path: Path) -> str:
    """A path for people."""
    return f"{path.transport} {path.endpoint}"


def seconds(duration: int) -> str:
    """A duration for people."""
    return f"{duration / SECOND:.1f} s"
