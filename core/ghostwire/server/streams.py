"""List and watch: brings every stream's map to the newest, each change encoded once for all streams that lack it.

Changes wait for `COALESCE` after the last round, so a burst of them is one frame. A stream that has too much unsent
is passed over until it has drained; then one frame takes it from where it stood to the newest.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from ghostwire.server.maps import Frame, Maps, Position

COALESCE = 0.05
"""Seconds between two rounds."""
BACKLOG = 256 * 1024
"""Bytes unsent from which on a stream is passed over."""
ROUND = 200
"""Streams served before other work gets its turn."""

Frames = dict[tuple[Position | None, bool], Frame]
"""Those of one round, by where a stream stands and whether it was greeted."""

_log = logging.getLogger("ghostwire.server")


class Viewer(Protocol):
    """A stream that watches the map; ``position`` None: it has nothing yet. ``greeted``: it got its first frame."""

    position: Position | None
    greeted: bool

    @property
    def pending(self) -> int:
        """Bytes not yet taken by the transport."""

    def push(self, frame: bytes) -> bool:
        """Send an encoded frame; False where it was dropped."""

    def fail(self) -> None:
        """It cannot be served: hang up, so that it begins anew."""


class Streams:
    """All streams of this server."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        self._viewers: dict[Viewer, None] = {}
        self._dirty = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.frames = 0
        self.skipped = 0

    def start(self) -> None:
        """Begin to serve."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="streams")

    async def close(self) -> None:
        """Stop; harmless when called twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def add(self, viewer: Viewer) -> None:
        """Serve this stream from its position on."""
        self._viewers[viewer] = None
        self.changed()

    def remove(self, viewer: Viewer) -> None:
        """Serve it no more; harmless when called twice."""
        self._viewers.pop(viewer, None)

    def changed(self) -> None:
        """The map changed, or a slow stream drained."""
        self._dirty.set()

    async def _run(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._serve()
            await asyncio.sleep(COALESCE)

    async def _serve(self) -> None:
        frames: Frames = {}
        for number, viewer in enumerate(list(self._viewers)):
            if number % ROUND == ROUND - 1:
                await asyncio.sleep(0)
                frames.clear()
            if viewer in self._viewers:
                self._try(viewer, frames)

    def _try(self, viewer: Viewer, frames: Frames) -> None:
        """One stream that can't be served must not keep the others from their maps."""
        try:
            self._advance(viewer, frames)
        except Exception:
            _log.exception("a stream cannot be served: internal error")
            self.remove(viewer)
            viewer.fail()

    def _advance(self, viewer: Viewer, frames: Frames) -> None:
        if viewer.greeted and viewer.position == self._maps.position:
            return
        if viewer.pending > BACKLOG:
            self.skipped += 1
            return
        key = (viewer.position, viewer.greeted)
        frame = frames.get(key)
        if frame is None:
            make = self._maps.frame if viewer.greeted else self._maps.greeting
            frame = frames[key] = make(viewer.position)
        if frame.content is None or viewer.push(frame.content):
            viewer.position, viewer.greeted = frame.target, True
            self.frames += frame.content is not None
