"""What disco tells path choice."""

from __future__ import annotations

from typing import Protocol

from ghostwire import Path


class DiscoEvents(Protocol):
    """Called while a datagram is received; must not block. All of it is authentic, and may be a replay."""

    def pinged(self, peer: int, source: Path) -> None:
        """A peer's ping came from there, and was answered."""

    def ponged(self, peer: int, source: Path, transaction: bytes, mapped: str) -> None:
        """A peer answered: ``mapped`` is where it saw the ping come from (``IP:port``, or empty).

        Whether there was such a ping over this path is the receiver's to know.
        """

    def called(self, peer: int, endpoints: tuple[str, ...]) -> None:
        """A peer asks over a relay to be pinged there (``IP:port``); some may lead into the mesh. At most once a
        second a peer."""
