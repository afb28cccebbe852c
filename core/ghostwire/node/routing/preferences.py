"""What the person at this node wants of routes, kept in its state folder over restarts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from ghostwire.errors import StateError
from ghostwire.keys import write_private
from ghostwire.model import from_json, to_json
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


class KeptPreferences:
    """``routing.json`` in a state folder, readable by its owner alone.

    StateError where it cannot be used: to go on without it might send packets where they must not go.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self.value = self._load()
        self.forgotten: Callable[[], object] = lambda: None
        """Is called after they were forgotten."""

    def remember(self, value: Preferences) -> None:
        """Store them, durably; nothing is written where they did not change."""
        if value != self.value:
            write_private(self._path, to_json(value) + b"\n")
            self.value = value

    def forget(self) -> None:
        """Want nothing any more: they were about another mesh."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise StateError(f"{self._path}: cannot remove: {error.strerror}; remove it yourself") from None
        self.value = Preferences()
        self.forgotten()

    def _load(self) -> Preferences:
        try:
            value: Preferences = from_json(self._path.read_bytes(), Preferences)
            for text in value.advertised:
                parse_prefix(text)
        except FileNotFoundError:
            return Preferences()
        except (OSError, msgspec.DecodeError, ValueError, RecursionError) as error:
            hint = "restore it, or remove it and choose exit node and routes again"
            raise StateError(f"{self._path}: cannot be used: {error}; {hint}") from None
        return value
