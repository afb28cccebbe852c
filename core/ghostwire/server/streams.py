"""List and watch where all watch the same: each stream is brought to its source's newest state, by its position.

One frame takes a stream from where it stands to the newest state, encoded once for all that stand there.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, Protocol, TypeVar

from ghostwire.server.rounds import Reader, Rounds

P = TypeVar("P")
"""Where a viewer stands."""


class Frame(NamedTuple, Generic[P]):
    """An encoded message, and the position it leads to; ``content`` None where nothing changed for anyone."""

    content: bytes | None
    target: P


class Source(Protocol[P]):
    """What is watched: the keys that relays may serve, say."""

    @property
    def position(self) -> P:
        """Where the newest state stands."""

    def frame(self, since: P | None) -> Frame[P]:
        """What changed since then; everything where ``since`` is None."""

    def greeting(self, since: P | None) -> Frame[P]:
        """The first frame of a stream."""


class Viewer(Reader, Protocol[P]):
    """A stream that watches; ``position`` None: it has nothing yet. ``greeted``: it got its first frame."""

    position: P | None
    greeted: bool


class Streams(Rounds, Generic[P]):
    """All streams of this server that watch one source."""

    def __init__(self, source: Source[P]) -> None:
        super().__init__()
        self._source = source
        self._viewers: dict[Viewer[P], None] = {}

    def add(self, viewer: Viewer[P]) -> None:
        """Serve this stream from its position on."""
        self._viewers[viewer] = None
        self.changed()

    def remove(self, viewer: Viewer[P]) -> None:
        """Serve it no more; harmless when called twice."""
        self._viewers.pop(viewer, None)

    async def _serve(self) -> None:
        frames: dict[tuple[P, P | None, bool], Frame[P]] = {}
        async for viewer in self._paced(list(self._viewers)):
            if viewer in self._viewers:
                self._try(viewer, frames)

    def _try(self, viewer: Viewer[P], frames: dict[tuple[P, P | None, bool], Frame[P]]) -> None:
        try:
            self._advance(viewer, frames)
        except Exception:
            self.remove(viewer)
            self._broken(viewer)

    def _advance(self, viewer: Viewer[P], frames: dict[tuple[P, P | None, bool], Frame[P]]) -> None:
        newest = self._source.position
        if (viewer.greeted and viewer.position == newest) or self._too_slow(viewer):
            return
        key = (newest, viewer.position, viewer.greeted)
        frame = frames.get(key)
        if frame is None:
            make = self._source.frame if viewer.greeted else self._source.greeting
            frame = frames[key] = make(viewer.position)
        if frame.content is None or viewer.push(frame.content):
            viewer.position, viewer.greeted = frame.target, True
            self.frames += frame.content is not None
