"""A composite path that looks for the one that works: handshake initiations go to many candidates.

initiation   the candidates within reach: all, the direct ones or the relayed ones (all, where there are none such)
response     back where the peer was heard last, so that a completed handshake proves a path in both directions
anything     the best guess, the first candidate, and the first relayed one, which carries it if the guess is wrong
"""

from __future__ import annotations

from collections.abc import Sequence

from ghostwire import Buffer, Path
from ghostwire.engine import SECOND, Clock
from ghostwire.node.paths.by_handshake import Reach

INITIATION, RESPONSE = 1, 2
"""The first bytes of WireGuard's handshake messages."""
FRESH = 5 * SECOND
"""How long the last initiation is still the handshake under way: WireGuard makes a new one after that."""


class FanOut(Path):
    """Stands for a peer's path until one is confirmed.

    A candidate that becomes known later gets the initiation that is under way at once, not at the next retry; so does
    one whose text changed, a relayed peer's that has another home.
    """

    __slots__ = (
        "_at",
        "_candidates",
        "_carriers",
        "_clock",
        "_initiation",
        "_within",
        "endpoint",
        "heard",
        "reach",
        "relayed",
        "transport",
    )

    def __init__(self, clock: Clock) -> None:
        self.transport, self.endpoint, self.relayed = "*", "*", False
        self.reach = Reach.ALL
        self.heard: Path | None = None
        self._candidates: tuple[Path, ...] = ()
        self._within: tuple[Path, ...] = ()
        self._carriers: tuple[Path, ...] = ()
        self._clock = clock
        self._initiation, self._at = b"", 0

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        """Send a burst; False where no candidate took all of it."""
        kinds = {datagram[0] for datagram in datagrams}
        if kinds.isdisjoint((INITIATION, RESPONSE)):
            return _send(self._carriers, datagrams)
        sent = [_send(self._paths(kind), [each for each in datagrams if each[0] == kind]) for kind in kinds]
        if INITIATION in kinds:
            self._initiation = next(bytes(each) for each in reversed(datagrams) if each[0] == INITIATION)
            self._at = self._clock.now()
        return any(sent)

    def offer(self, candidates: Sequence[Path], reach: Reach = Reach.ALL) -> None:
        """Make these the candidates; new ones get the initiation that is under way."""
        before = {(path, path.endpoint) for path in self._within}
        self._candidates, self.reach = tuple(candidates), reach
        self._within = _within(self._candidates, reach)
        relay = next((path for path in self._candidates if path.relayed), None)
        self._carriers = tuple(dict.fromkeys(path for path in (*self._candidates[:1], relay) if path is not None))
        if self._initiation and self._clock.now() - self._at < FRESH:
            new = [path for path in self._within if (path, path.endpoint) not in before]
            _send(new, [self._initiation])

    def _paths(self, kind: int) -> Sequence[Path]:
        if kind == INITIATION:
            return self._within
        return (self.heard,) if kind == RESPONSE and self.heard is not None else self._carriers


def _within(candidates: tuple[Path, ...], reach: Reach) -> tuple[Path, ...]:
    if reach is Reach.ALL:
        return candidates
    return tuple(path for path in candidates if path.relayed is (reach is Reach.RELAYED)) or candidates


def _send(paths: Sequence[Path], datagrams: Sequence[Buffer]) -> bool:
    sent = [path.send(datagrams) for path in paths]
    return any(sent)
