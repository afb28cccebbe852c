"""What the person at this node wants of routes, kept in its state folder over restarts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from ghostwire.uplink.membership import Kept
from ghostwire.wire.prefixes import parse_prefix

FILE = "routing.json"


class ExitChoice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The exit node to use, be it there or not. ``name`` is what it was called then; with ``lan`` networks that this
    machine is directly on are reached directly."""

    stable_id: str
    name: str
    lan: bool = False


class Preferences(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``advertised`` are prefixes offered beside the configured ones; ``accept_routes`` None: as configured."""

    exit_node: ExitChoice | None = None
    advertised: tuple[str, ...] = ()
    accept_routes: bool | None = None

    def __post_init__(self) -> None:
        for text in self.advertised:
            parse_prefix(text)


class KeptPreferences:
    """``routing.json`` in a state folder, readable by its owner alone.

    StateError where it cannot be used: to go on without it might send packets where they must not go.
    """

    def __init__(self, folder: Path) -> None:
        self._kept = Kept(folder, Preferences, "choose exit node and routes again", FILE)
        self.forgotten: Callable[[], object] = lambda: None
        """Is called after they were forgotten."""

    @property
    def value(self) -> Preferences:
        """What is wanted now."""
        return self._kept.value or Preferences()

    def remember(self, value: Preferences) -> None:
        """Store them, durably; nothing is written where they did not change."""
        if value != self.value:
            self._kept.remember(value)

    def forget(self) -> None:
        """Want nothing any more: they were about another mesh."""
        self._kept.forget()
        self.forgotten()
