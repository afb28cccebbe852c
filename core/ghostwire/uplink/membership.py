"""What a node or relay keeps in its state folder over restarts: first of all, which server it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from ghostwire.errors import StateError
from ghostwire.keys import write_private
from ghostwire.model import from_json, to_json

M = TypeVar("M", bound=msgspec.Struct)

FILE = "server.json"


class Kept(Generic[M]):
    """One ``file`` in a state folder, readable by its owner alone; ``value`` is None where there is none.

    StateError where it cannot be used; ``again`` says what is to be done to get another.
    """

    def __init__(self, folder: Path, kind: type[M], again: str, file: str = FILE) -> None:
        self._path, self._again = folder / file, again
        self.value = self._load(kind)

    def remember(self, value: M) -> None:
        """Store it, durably; nothing is written where it did not change."""
        if value != self.value:
            write_private(self._path, to_json(value) + b"\n")
            self.value = value

    def forget(self) -> None:
        """Remove it."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise StateError(f"{self._path}: cannot remove: {error.strerror}; remove it yourself") from None
        self.value = None

    def _load(self, kind: type[M]) -> M | None:
        try:
            value: M = from_json(self._path.read_bytes(), kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, ValueError, RecursionError) as error:
            hint = f"restore it, or remove it and {self._again}"
            raise StateError(f"{self._path}: cannot be used: {error}; {hint}") from None
        return value
