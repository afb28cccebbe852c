"""The reading side of every stream: what is no whole frame yet is kept until the rest has come."""

from __future__ import annotations

from typing import Final

from ghostwire_derp.frames import HEADER_BYTES, header
from ghostwire_derp.relay.arena import READ_BYTES, Arena
from ghostwire_derp.relay.outlet import Outlet

FRAMES_AT_ONCE: Final = 1024
"""What one stream may have parsed at a time: about half a millisecond."""
LEAST_READ: Final = 4 * 1024


class Inlet:
    """Part of a stream. ``owner`` parses; ``kept`` is what it has not, ``missing`` what its first frame lacks.

    ``most`` is how many bytes to read of it at a time.
    """

    __slots__ = ("kept", "missing", "most", "owner")
    owner: Outlet

    def __init__(self) -> None:
        self.kept: bytes | bytearray = b""
        self.missing, self.most = 0, READ_BYTES

    def fed(self, frames: int) -> None:
        """So many frames came at a time: where they are small, less is read, so that all turns take equally long."""
        if frames > FRAMES_AT_ONCE:
            self.most = max(LEAST_READ, self.most * FRAMES_AT_ONCE // frames)
        elif frames < FRAMES_AT_ONCE // 2 and self.most < READ_BYTES:
            self.most = min(READ_BYTES, self.most * 2)

    def parse(self, arena: Arena, size: int) -> None:
        """Hand over ``size`` new bytes, which lie in the arena behind the room for what is kept."""
        kept, view, start = self.kept, arena.view, arena.used
        middle = start + len(kept)
        end = middle + size
        if size < self.missing:
            self.missing -= size
            self.kept += view[middle:end]
            return
        if kept:
            view[start:middle] = kept
            self.kept, self.missing = b"", 0
        owner = self.owner
        arena.used = after = owner.parse(owner, start, end)
        if after < end and not owner.closed:
            self._keep(view[after:end])

    def _keep(self, rest: memoryview) -> None:
        self.kept = bytearray(rest)
        if len(rest) >= HEADER_BYTES:
            self.missing = HEADER_BYTES + header.unpack_from(rest)[1] - len(rest)
