"""The engine of one round of STUN requests: each region and IP version is asked until it answers.

Round(probes)   deadline, advance, drain: what to send now
answered        the round trip is noted, and no more is asked of that region over that IP version
unsendable      neither
done            all answered; or, with ``enough``, so many regions did and the awaited ones; or the patience is over
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ghostwire.engine import SECOND, Entropy
from ghostwire.node.netcheck.plan import Probe
from ghostwire.wire.stun import TRANSACTION_BYTES, binding_request

PATIENCE = 3 * SECOND
"""How long a round waits for answers over STUN, unless it is told otherwise."""

Mapped = tuple[str, int]
"""An address and a port of this node, as a relay sees it."""


class Round:
    """Begins at ``now``. With ``enough``, that many regions will do, if ``awaited`` ones are among them.

    It lasts for ``patience`` nanoseconds at most, and after the first answer for ``linger`` at most.
    """

    def __init__(
        self,
        probes: Iterable[Probe],
        entropy: Entropy,
        now: int,
        *,
        enough: int | None = None,
        awaited: Collection[int] = (),
        patience: int = PATIENCE,
        linger: int | None = None,
    ) -> None:
        self._entropy, self._linger = entropy, linger
        self._began, self._end = now, now + patience
        self._waiting = sorted(probes, key=lambda probe: probe.after)
        self.families = frozenset(probe.family for probe in self._waiting)
        """The IP versions that are asked over."""
        self._open = {_place(probe) for probe in self._waiting}
        self._enough, self._awaited = enough, {probe.region for probe in self._waiting}.intersection(awaited)
        self._asked: dict[bytes, tuple[Probe, int]] = {}
        self._sends: list[tuple[Probe, bytes]] = []
        self._over = self._satisfied = False
        self.latencies: dict[tuple[int, int], int] = {}
        """(region, IP version) -> round trip in nanoseconds."""
        self.mapped: dict[str, Mapped] = {}
        """What each endpoint that answered told, the first first."""
        self.advance(now)

    @property
    def exhausted(self) -> bool:
        """Whether who has not answered by now should have."""
        return not self._satisfied

    @property
    def done(self) -> bool:
        """Whether nothing more is to be waited for."""
        return self._over or self._satisfied or not self._open

    def deadline(self) -> int | None:
        """When to send the next request, or to give up."""
        if self.done:
            return None
        return min([self._end, *(self._began + probe.after for probe in self._waiting[:1])])

    def advance(self, now: int) -> None:
        """Ask whom it is time to ask."""
        while self._waiting and self._waiting[0].after <= now - self._began:
            self._ask(self._waiting.pop(0), now)
        self._over = self._over or now >= self._end

    def drain(self) -> list[tuple[Probe, bytes]]:
        """The requests to send now."""
        sends, self._sends = self._sends, []
        return sends

    def expects(self, transaction: bytes) -> bool:
        """Whether a request of this id is unanswered."""
        return transaction in self._asked

    def answered(self, transaction: bytes, mapped: Mapped, now: int) -> Probe | None:
        """An answer came; to which probe (None: to nothing that was asked, and then it is ignored)."""
        probe, at = self._asked.pop(transaction, (None, 0))
        if probe is None:
            return None
        place = probe.region, probe.family
        self.latencies[place] = min(now - at, self.latencies.get(place, now - at))
        self.mapped.setdefault(probe.endpoint, mapped)
        self._close(probe)
        answered = {region for region, _ in self.latencies}
        if self._enough is not None and len(answered) >= self._enough and self._awaited <= answered:
            self._satisfied = True
        if self._linger is not None:
            self._end = min(self._end, now + self._linger)
        return probe

    def unsendable(self, probe: Probe) -> None:
        """This machine cannot send there."""
        self._close(probe)

    def _ask(self, probe: Probe, now: int) -> None:
        transaction = self._entropy(TRANSACTION_BYTES)
        self._asked[transaction] = probe, now
        self._sends.append((probe, binding_request(transaction)))

    def _close(self, answered: Probe) -> None:
        place = _place(answered)
        self._open.discard(place)
        self._waiting = [probe for probe in self._waiting if _place(probe) != place]


def _place(probe: Probe) -> tuple[int, int, bool]:
    """What one answer settles."""
    return probe.region, probe.family, probe.second
