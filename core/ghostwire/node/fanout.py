"""A composite path that looks for the one that works: handshake initiations go to every candidate."""

from __future__ import annotations

from collections.abc import Sequence

from ghostwire import Buffer, Path
from ghostwire.engine import SECOND, Clock

INITIATION = 1
"""The first byte of a WireGuard handshake initiation."""
FRESH = 5 * SECOND
"""How long the last initiation is still the handshake under way: WireGuard makes a new one after that."""


class FanOut(Path):
    """Stands for a peer's path until one is confirmed.

    An initiation goes to all candidates; anything else to the best guess, the first, so that data is not multiplied.
    A candidate that becomes known later gets the initiation that is under way at once, not at the next retry.
    """

    __slots__ = ("_at", "_candidates", "_clock", "_initiation", "endpoint", "relayed", "transport")

    def __init__(self, candidates: Sequence[Path], clock: Clock) -> None:
        self.transport, self.endpoint, self.relayed = "*", "*", False
        self._candidates, self._clock = tuple(candidates), clock
        self._initiation, self._at = b"", 0

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        """Send a burst; False where no candidate took all of it."""
        initiations = [datagram for datagram in datagrams if datagram[0] == INITIATION]
        others = [datagram for datagram in datagrams if datagram[0] != INITIATION]
        sent = []
        if initiations:
            self._initiation, self._at = bytes(initiations[-1]), self._clock.now()
            sent += [path.send(initiations) for path in self._candidates]
        if others:
            sent += [path.send(others) for path in self._candidates[:1]]
        return any(sent)

    def offer(self, candidates: Sequence[Path]) -> None:
        """Make these the candidates; new ones get the initiation that is under way."""
        new = [path for path in candidates if path not in self._candidates]
        self._candidates = tuple(candidates)
        if self._initiation and self._clock.now() - self._at < FRESH:
            for path in new:
                path.send([self._initiation])
