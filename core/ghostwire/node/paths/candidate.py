"""A direct way to a peer that may or may not work, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ghostwire import Path
from ghostwire.node.paths.timing import BAR, LEARNED, LONGEST_BAR


class Learned(StrEnum):
    """From whom a candidate is known."""

    SERVER = "server"
    CALL = "call-me-maybe"
    PING = "ping"
    TUNNEL = "tunnel"
    CACHE = "cache"


@dataclass(slots=True, eq=False)
class Candidate:
    """``rank`` is its transport's, lower is better; ``bonus`` the points of its address.

    Times are nanoseconds of the clock, None for never. ``carries`` says that a ping of the mesh's MTU was answered;
    ``failures`` counts carriage tests failed in a row, ``barred`` is until when it is not used for that.
    """

    path: Path
    rank: int
    bonus: int
    learned: Learned
    heard_of: int
    latency: int | None = None
    pinged: int | None = None
    answered: int | None = None
    carries: bool = False
    failures: int = 0
    barred: int = 0

    @property
    def silent(self) -> bool:
        """Whether the last ping is not answered."""
        return self.pinged is not None and (self.answered is None or self.answered < self.pinged)

    def answer(self, latency: int, now: int, *, padded: bool) -> None:
        """A pong came, ``latency`` after its ping."""
        self.latency = latency if self.latency is None else (3 * self.latency + latency) // 4
        self.answered = self.heard_of = now
        self.carries = self.carries or padded

    def bar(self, now: int) -> None:
        """It answers pings and carries no packets."""
        self.barred = now + min(LONGEST_BAR, BAR << self.failures)
        self.failures += 1

    def pardon(self) -> None:
        """It carries packets after all."""
        self.failures = self.barred = 0

    def renew(self) -> None:
        """The network is another: nothing measured counts any more."""
        self.latency = self.pinged = self.answered = None
        self.carries = False
        self.pardon()

    def forgotten(self, now: int) -> bool:
        """Whether it is so long since anybody spoke of it that it is dropped; advertised ones stay."""
        return self.learned is not Learned.SERVER and now - self.heard_of >= LEARNED


def hopes(
    guess: Candidate | None, best: Candidate | None, former: Candidate | None, relay: Path | None
) -> tuple[Path, ...]:
    """Where packets go while no path is trusted: the best guess, and what was used before or the relay, without one
    what is in doubt."""
    first, second = (each.path if each is not None else None for each in (guess or best, former))
    doubtful = best.path if best is not None else None
    return tuple(dict.fromkeys(path for path in (first, second or relay or doubtful) if path is not None))
