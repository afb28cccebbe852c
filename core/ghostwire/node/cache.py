"""The map cache on disk: what a node needs to start and run while its server is away."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from ghostwire.errors import GhostwireError
from ghostwire.keys import ControlKey, NodeKey, create_private, write_private
from ghostwire.model import Endpoint, MapChange, pack, unpacker
from ghostwire.wire.messages import Welcome

DELAY = 3.0
"""Seconds after a change until it is written: many changes cost one write."""


class Cached(msgspec.Struct, frozen=True, kw_only=True):
    """What the cache holds: valid for this server and this node key only. ``endpoints`` are peers' last known ones."""

    control_key: ControlKey
    node_key: NodeKey
    welcome: Welcome
    map: MapChange
    endpoints: dict[int, tuple[Endpoint, ...]] = {}


_decoder = unpacker(Cached)


class MapCache:
    """Writes ``contents()`` a few seconds after `changed`, and at `flush`; each write replaces the file atomically.

    A delayed write is not flushed to disk, which would hold up the loop: power cut at the wrong moment costs a file
    that the next start drops, as any damaged one.
    """

    def __init__(self, path: Path, contents: Callable[[], Cached | None], log: logging.Logger) -> None:
        self._path, self._contents, self._log = path, contents, log
        self._timer: asyncio.TimerHandle | None = None

    def load(self, control_key: ControlKey, node_key: NodeKey) -> Cached | None:
        """What was stored for this server and node key; a damaged or foreign file is dropped with one log line."""
        try:
            cached: Cached = _decoder.decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, ValueError) as error:
            self._log.warning("%s: damaged (%s); dropped, the server sends a new map", self._path, error)
            self.drop()
            return None
        return cached if (cached.control_key, cached.node_key) == (control_key, node_key) else None

    def changed(self) -> None:
        """Write soon."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DELAY, self._write)

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
            self._log.warning("%s: the map cache is not written: %s", self._path, error)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with os.fdopen(create_private(temporary), "wb") as file:
        file.write(content)
    temporary.replace(path)
