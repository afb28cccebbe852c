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
        self._made = False

    def take(self) -> None:
        """StateError where another process holds it or the folder can't be written."""
        descriptor = self._locked()
        while not self._is_there(descriptor):  # its holder discarded it before it was ours
            os.close(descriptor)
            descriptor = self._locked()
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

    def discard(self) -> None:
        """Remove the file where `take` made it, then release."""
        if self._descriptor is not None and self._made:
            self._path.unlink(missing_ok=True)
        self.release()

    def _locked(self) -> int:
        self._made = not os.path.lexists(self._path)
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
        return descriptor

    def _is_there(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def _unwritable(self, error: OSError) -> StateError:
        where, why = self._path.parent, error.strerror
        return StateError(f"{where}: cannot write here: {why}; make room, make it writable or pass --state")
