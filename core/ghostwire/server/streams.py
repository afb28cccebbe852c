"""List and watch: brings every stream to its source's newest state, each change encoded once for all that lack it.

Changes wait for `COALESCE` after the last round, so a burst of them is one frame. A stream that has too much unsent
is passed over until it has drained; then one frame takes it from where it stood to the newest.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Generic, NamedTuple, Protocol, TypeVar

COALESCE = 0.05
"""Seconds between two rounds."""
BACKLOG = 256 * 1024
"""Bytes unsent from which on a stream is passed over."""
ROUND = 200
"""Streams served before other work gets its turn."""

P = TypeVar("P")
"""Where a viewer stands."""


class Frame(NamedTuple, Generic[P]):
    """An encoded message, and the position it leads to; ``content`` None where nothing changed for anyone."""

    content: bytes | None
    target: P


_log = logging.getLogger("ghostwire.server")


class Source(Protocol[P]):
    """What is watched: the network map, say."""

    @property
    def position(self) -> P:
        """Where the newest state stands."""

    def frame(self, since: P | None) -> Frame[P]:
        """What changed since then; everything where ``since`` is None."""

    def greeting(self, since: P | None) -> Frame[P]:
        """The first frame of a stream."""


class Viewer(Protocol[P]):
    """A stream that watches; ``position`` None: it has nothing yet. ``greeted``: it got its first frame."""

    position: P | None
    greeted: bool

    @property
    def pending(self) -> int:
        """Bytes not yet taken by the transport."""

    def push(self, frame: bytes) -> bool:
        """Send an encoded frame; False where it was dropped."""

    def fail(self) -> None:
        """It cannot be served: hang up, so that it begins anew."""


class Streams(Generic[P]):
    """All streams of this server that watch one source."""

    def __init__(self, source: Source[P]) -> None:
        self._source = source
        self._viewers: dict[Viewer[P], None] = {}
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

    def add(self, viewer: Viewer[P]) -> None:
        """Serve this stream from its position on."""
        self._viewers[viewer] = None
        self.changed()

    def remove(self, viewer: Viewer[P]) -> None:
        """Serve it no more; harmless when called twice."""
        self._viewers.pop(viewer, None)

    def changed(self) -> None:
        """The source changed, or a slow stream drained."""
        self._dirty.set()

    async def _run(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._serve()
            await asyncio.sleep(COALESCE)

    async def _serve(self) -> None:
        frames: dict[tuple[P | None, bool], Frame[P]] = {}
        for number, viewer in enumerate(list(self._viewers)):
            if number % ROUND == ROUND - 1:
                await asyncio.sleep(0)
                frames.clear()
            if viewer in self._viewers:
                self._try(viewer, frames)

    def _try(self, viewer: Viewer[P], frames: dict[tuple[P | None, bool], Frame[P]]) -> None:
        """One stream that can't be served must not keep the others from theirs."""
        try:
            self._advance(viewer, frames)
        except Exception:
            _log.exception("a stream cannot be served: internal error")
            self.remove(viewer)
            viewer.fail()

    def _advance(self, viewer: Viewer[P], frames: dict[tuple[P | None, bool], Frame[P]]) -> None:
        if viewer.greeted and viewer.position == self._source.position:
            return
        if viewer.pending > BACKLOG:
            self.skipped += 1
            return
        key = (viewer.position, viewer.greeted)
        frame = frames.get(key)
        if frame is None:
            make = self._source.frame if viewer.greeted else self._source.greeting
            frame = frames[key] = make(viewer.position)
        if frame.content is None or viewer.push(frame.content):
            viewer.position, viewer.greeted = frame.target, True
            self.frames += frame.content is not None
