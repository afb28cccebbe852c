"""What the server told last, on disk: who has it can start and serve while its server is away."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from ghostwire.errors import GhostwireError
from ghostwire.keys import create_private, write_private
from ghostwire.model import pack, unpacker

DELAY = 3.0
"""Seconds after a change until it is written: many changes cost one write."""
LEISURE = 60.0
"""The same for what changes all the time and is no great loss."""

C = TypeVar("C", bound=msgspec.Struct)


class Cache(Generic[C]):
    """Writes ``contents()`` a while after `changed`, and at `flush`; each write replaces the file atomically.

    A delayed write is not flushed to disk, which would hold up the loop: power cut at the wrong moment costs a file
    that the next start drops, as any damaged one. ``what`` names it in the log.
    """

    def __init__(
        self, path: Path, kind: type[C], contents: Callable[[], C | None], log: logging.Logger, what: str
    ) -> None:
        self._path, self._contents, self._log, self._what = path, contents, log, what
        self._decoder = unpacker(kind)
        self._timer: asyncio.TimerHandle | None = None

    def load(self) -> C | None:
        """What was stored; a damaged file is dropped with one log line."""
        try:
            stored: C = self._decoder.decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, ValueError, RecursionError) as error:
            self._log.warning("%s: damaged (%s); dropped, the server sends %s anew", self._path, error, self._what)
            self.drop()
            return None
        return stored

    def changed(self, *, within: float = DELAY) -> None:
        """Write soon: so many seconds from now at the latest."""
        loop = asyncio.get_running_loop()
        due = loop.time() + within
        if self._timer is None or self._timer.when() > due:
            self._cancel()
            self._timer = loop.call_at(due, self._write)

    def flush(self) -> None:
        """Write now and durably, where something waits to be written."""
        if self._timer is not None:
            self._write(durable=True)

    def drop(self) -> None:
        """Remove the file and forget a waiting write."""
        self._cancel()
        self._path.unlink(missing_ok=True)

    def _write(self, durable: bool = False) -> None:
        self._cancel()
        contents = self._contents()
        if contents is None:
            return
        try:
            (write_private if durable else _replace)(self._path, pack(contents))
        except (OSError, GhostwireError) as error:
            self._log.warning("%s: %s is not written: %s", self._path, self._what, error)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with os.fdopen(create_private(temporary), "wb") as file:
        file.write(content)
    temporary.replace(path)
