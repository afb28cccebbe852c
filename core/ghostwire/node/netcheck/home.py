"""The engine that chooses a node's home region, and keeps it unless another is clearly better.

The best region is the one whose best round trip of the last `MEMORY` is the lowest, among those that answered now.
The old home stays where it is alive (it answered now, or sent a frame within `FRAME`) and the best one is less than
`GAIN` faster or takes more than 2/3 of its time. While nothing answers it stays for `SILENCE`; then, or where there
never was one, a region is drawn that depends on the node alone, and kept as long as nothing is known. While the
server is away a home never changes: peers would not learn of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from hashlib import blake2s

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.keys import NodeKey

MEMORY = 300 * SECOND
FRAME = 8 * SECOND
GAIN = 10 * MILLISECOND
SILENCE = 2 * 60 * SECOND


class HomeChoice:
    """Begins with the home it had, if any; ``reason`` says in a few words why it is where it is."""

    def __init__(self, node: NodeKey, home: int | None = None) -> None:
        self._node = node
        self.home = home
        self.reason = "as before" if home is not None else ""
        self._history: deque[tuple[int, Mapping[int, int]]] = deque()
        self._alive: int | None = None
        self._drawn = False

    def choose(
        self,
        latencies: Mapping[int, int],
        regions: Collection[int],
        now: int,
        *,
        connected: bool,
        heard: int | None,
        closing: Collection[int] = (),
    ) -> int | None:
        """The home, after a round that found these round trips in nanoseconds.

        ``regions`` are all there are, ``closing`` those that take nobody new; ``connected`` says whether the server is
        reached, ``heard`` when the home last sent a frame.
        """
        self._remember(latencies, now, heard)
        if self.home not in regions:
            self.home = None
        if self.home is not None and not connected:
            self.reason = "kept: the server is away"
            return self.home
        best = {region: self._best(region) for region in latencies if region in regions and region not in closing}
        if best:
            self._compare(best, now, heard, leaving=self.home in closing)
        elif not latencies:
            self._without_data(regions, now)
        return self.home

    def forget(self) -> None:
        """Round trips so far were another network's."""
        self._history.clear()

    def _remember(self, latencies: Mapping[int, int], now: int, heard: int | None) -> None:
        self._history.append((now, dict(latencies)))
        while now - self._history[0][0] > MEMORY:
            self._history.popleft()
        signs = [at for at in (self._alive, heard, now if latencies else None) if at is not None]
        self._alive = max(signs, default=None)

    def _best(self, region: int) -> int:
        return min(each[region] for _, each in self._history if region in each)

    def _compare(self, best: Mapping[int, int], now: int, heard: int | None, *, leaving: bool) -> None:
        fastest = min(best, key=lambda region: (best[region], region != self.home, region))
        if not leaving and self.home is not None and fastest != self.home:
            old = best.get(self.home)
            if old is not None and (old - best[fastest] < GAIN or 3 * best[fastest] > 2 * old):
                self._settle(self.home, f"kept: another is faster by {(old - best[fastest]) / MILLISECOND:.1f} ms only")
                return
            if old is None and heard is not None and now - heard < FRAME:
                self._settle(self.home, "kept: it does not answer STUN, but was heard")
                return
        self._settle(fastest, "the fastest")

    def _without_data(self, regions: Collection[int], now: int) -> None:
        if self.home is not None and (self._drawn or (self._alive is not None and now - self._alive < SILENCE)):
            self.reason = "kept: no relay answers"
        elif regions:
            self._settle(min(regions, key=self._lot), "drawn: no relay answers")
            self._drawn = True

    def _settle(self, home: int, reason: str) -> None:
        self.home, self.reason, self._drawn = home, reason, False

    def _lot(self, region: int) -> bytes:
        return blake2s(self._node.raw + region.to_bytes(8), digest_size=8).digest()
