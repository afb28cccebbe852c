"""The engine that tells the server which peers this node wants to reach and cannot.

want(peer)        first time: Interest(peer, wanted); again: lasts until `LINGER` after the last
deadline passes   Interest(peer, not wanted)
reconnected       every interest that lasts is declared again: the server forgot them with the stream
"""

from __future__ import annotations

from ghostwire.engine import SECOND
from ghostwire.wire.messages import Interest

LINGER = 45 * SECOND


class Interests:
    """The peers wanted now, each until `LINGER` after the last packet that found no trusted path."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self._messages: list[Interest] = []

    def __len__(self) -> int:
        return len(self._last)

    def want(self, peer: int, now: int) -> None:
        """There is a packet for this peer, and no trusted path."""
        if self._last.pop(peer, None) is None:
            self._messages.append(Interest(node=peer))
        self._last[peer] = now

    def forget(self, peer: int) -> None:
        """It is a peer no longer, which the server knows."""
        self._last.pop(peer, None)

    def reconnected(self) -> None:
        """Declare all again."""
        self._messages = [Interest(node=peer) for peer in self._last]

    def deadline(self) -> int | None:
        """When the oldest interest ends."""
        oldest = next(iter(self._last.values()), None)
        return None if oldest is None else oldest + LINGER

    def advance(self, now: int) -> None:
        """End the interests that are over."""
        over = [peer for peer, last in self._last.items() if last + LINGER <= now]
        for peer in over:
            del self._last[peer]
            self._messages.append(Interest(node=peer, wanted=False))

    def drain(self) -> list[Interest]:
        """What to tell the server; said while it is away, it is said again by `reconnected`."""
        messages, self._messages = self._messages, []
        return messages
