"""A lock file: one process at a time, its id written inside; the lock ends with its holder, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ghostwire.errors import StateError


class FileLock:
    """Held from `take` to `release`. ``refusal`` tells whoever comes second; in it ``{holder}`` is the first's id."""

    def __init__(self, path: Path, refusal: str) -> None:
        self._path, self._refusal = path, refusal
        self._descriptor: int | None = None

    def take(self) -> None:
        """StateError where another process holds it or the folder can't be written."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise StateError(self._refusal.replace("{holder}", holder)) from None
        self._descriptor = descriptor
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, b"%d\n" % os.getpid())
        except OSError as error:
            self.release()
            raise self._unwritable(error) from None

    def release(self) -> None:
        """Let the next one in; harmless when called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _unwritable(self, error: OSError) -> StateError:
        where, why = self._path.parent, error.strerror
        return StateError(f"{where}: cannot write here: {why}; make room, make it writable or pass --state")
