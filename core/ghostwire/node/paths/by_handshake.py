"""The engine that decides which path each peer's packets take, until paths are probed by disco.

A handshake is the probe: an initiation goes over candidate paths, the answer goes back the way that the initiation
came, so the path over which a handshake is completed works both ways. A direct path is preferred to a relayed one, and
a relay carries the packets whenever no direct path is trusted. `wanted`, `established` and `authenticated` are the
tunnel's events; *stale* is a path whose last handshake is `TRUST` ago, *asked* one that an initiation went out for and
nothing answered yet, *backed* a peer that a relay reaches too.

    state       event                         next        decision
    ---------   ---------------------------   ---------   ----------------------------------------------------
    searching   wanted                        searching   Search: all candidates, the relay alone at every second try
    searching   established(path)             trusted     Use(path)
    searching   authenticated(direct)         trusted     Use(path)
                where the peer is backed      searching   Search(path): it is a guess, so the relay carries data too
    searching   authenticated(relay)          searching   Answer over the relay
    trusted     wanted, fresh, direct         asked       Use(path) again: it may be news to a tunnel made anew
    trusted     wanted, fresh, relayed        asked       Search: direct candidates only, data over the relay
    trusted     wanted, stale                 searching   Search
    asked       wanted                        searching   Search: the last initiation stayed unanswered
    trusted,    established(same path)        trusted     none
    asked       established(other)            trusted     Use(other)
                authenticated(other direct)   trusted     Use(other): the peer has roamed; where backed: searching
    direct      authenticated(relay)          searching   Search: the peer may have lost the direct path; a straggler
                                                          within `GRACE` of its handshake changes nothing
    trusted     links_changed                 asked       none: the next initiation fans out
    any         forget                        forgotten   none

A path that is relayed, or only guessed while a relay stands by, is probed: `Renew` asks the tunnel for a handshake
after `PROBE`, then ever later, `PROBES` times in all until a direct path, new candidates or other links give new
hope. An idle node has no deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from ghostwire import Path
from ghostwire.engine import SECOND

TRUST = 180 * SECOND
"""A session's longest life: without a handshake for that long, a path is only a guess."""
GRACE = 5 * SECOND
"""How long after a handshake over a direct path datagrams may still arrive that were sent to the relay before."""
PROBE = SECOND
PROBES = 4
SLOWER = 4
"""Each probe waits so many times longer than the one before."""


class Reach(Enum):
    """Over which candidates an initiation goes."""

    ALL = auto()
    DIRECT = auto()
    RELAYED = auto()


@dataclass(frozen=True, slots=True)
class Search:
    """Look for this peer: ``guess`` first, answers over ``heard``, where it was heard last."""

    peer: int
    guess: Path | None
    heard: Path | None = None
    reach: Reach = Reach.ALL


@dataclass(frozen=True, slots=True)
class Use:
    """Send to this peer over this path."""

    peer: int
    path: Path


@dataclass(frozen=True, slots=True)
class Answer:
    """Go on looking for this peer, but answer over this path."""

    peer: int
    path: Path


@dataclass(frozen=True, slots=True)
class Renew:
    """Have the tunnel begin a handshake with this peer."""

    peer: int


Decision = Search | Answer | Use | Renew


@dataclass(slots=True)
class _Peer:
    path: Path | None = None
    heard: Path | None = None
    trusted: bool = False
    asked: bool = False
    confirmed: int = 0
    tries: int = 0
    probes: int = 0

    @property
    def relayed(self) -> bool:
        return self.trusted and self.path is not None and self.path.relayed

    @property
    def reach(self) -> Reach:
        if self.relayed:
            return Reach.DIRECT
        return Reach.RELAYED if self.tries > 0 and self.tries % 2 == 0 else Reach.ALL


class Paths:
    """The path of every peer. `drain` gives the decisions that the last call led to.

    ``backed`` tells whether a relay reaches a peer too.
    """

    def __init__(self, backed: Callable[[int], bool] = lambda peer: False) -> None:
        self._backed = backed
        self._peers: dict[int, _Peer] = {}
        self._due: dict[int, int] = {}
        self._next = 0
        self._decisions: list[Decision] = []

    def wanted(self, peer: int, now: int) -> None:
        """An initiation is about to go to this peer."""
        state = self._peers.setdefault(peer, _Peer())
        if state.trusted and not state.asked and now - state.confirmed < TRUST:
            state.asked = True
        else:
            state.trusted = state.asked = False
            state.tries += 1
        self._decide(peer, state)

    def established(self, peer: int, source: Path, now: int) -> None:
        """A handshake with this peer was completed over ``source``."""
        state = self._peers.setdefault(peer, _Peer())
        if not source.relayed:
            state.probes = 0
        self._confirm(peer, state, source, now)

    def authenticated(self, peer: int, source: Path, now: int) -> None:
        """An authenticated datagram of this peer came from ``source``, which is not what it has now."""
        state = self._peers.setdefault(peer, _Peer())
        if state.trusted and state.path == source:
            return
        if source.relayed:
            self._heard_relayed(peer, state, source, now)
        elif self._backed(peer):
            self._doubt(peer, state, source, source, now)
        else:
            self._confirm(peer, state, source, now)

    def found(self, peer: int, now: int) -> None:
        """There are new candidates for this peer."""
        state = self._peers.get(peer)
        if state is not None and state.relayed:
            state.probes = 0
            self._probe_later(peer, state, now)

    def moved(self, peer: int, relay: Path) -> None:
        """The relayed path to this peer has another text now; a relay's paths to one peer may well be equal."""
        state = self._peers.get(peer)
        if (
            state is not None
            and state.path is not None
            and state.path.relayed
            and state.path.endpoint != relay.endpoint
        ):
            state.path = relay
            self._decide(peer, state)

    def links_changed(self, now: int) -> None:
        """This machine's own links changed: every path has to prove itself again."""
        for peer, state in self._peers.items():
            state.asked = True
            self.found(peer, now)

    def forget(self, peer: int) -> None:
        """It is a peer no longer."""
        self._peers.pop(peer, None)
        self._due.pop(peer, None)

    def trusted(self, peer: int) -> Path | None:
        """The peer's confirmed path, or None while it has none."""
        state = self._peers.get(peer)
        return state.path if state is not None and state.trusted else None

    def last(self, peer: int) -> Path | None:
        """The path that worked last, trusted or not."""
        state = self._peers.get(peer)
        return state.path if state is not None else None

    def deadline(self) -> int | None:
        """When the next probe may be due: never too late, and too early where it has become needless."""
        return self._next if self._due else None

    def advance(self, now: int) -> None:
        """Probe what is due."""
        for peer in [peer for peer, due in self._due.items() if due <= now]:
            del self._due[peer]
            self._peers[peer].probes += 1
            self._decisions.append(Renew(peer))
        self._next = min(self._due.values(), default=0)

    def drain(self) -> list[Decision]:
        """The decisions since the last call, in order."""
        decisions, self._decisions = self._decisions, []
        return decisions

    def _heard_relayed(self, peer: int, state: _Peer, source: Path, now: int) -> None:
        """It tells nothing of the direct path, but that the peer may have lost it."""
        if not state.trusted or now - state.confirmed >= GRACE:
            self._doubt(peer, state, state.path or source, source, now)

    def _doubt(self, peer: int, state: _Peer, guess: Path, heard: Path, now: int) -> None:
        """Trust no path until a handshake is completed over it."""
        searching = not state.trusted and state.path == guess
        if searching and state.heard == heard:
            return
        state.heard = heard
        if searching:
            self._decisions.append(Answer(peer, heard))
            return
        state.tries = 0 if state.trusted else state.tries
        state.path, state.trusted, state.asked = guess, False, False
        self._probe_later(peer, state, now)
        self._decide(peer, state)

    def _confirm(self, peer: int, state: _Peer, source: Path, now: int) -> None:
        moved = not state.trusted or state.path != source or (state.asked and source.relayed)
        state.path, state.heard, state.trusted, state.asked = source, source, True, False
        state.confirmed, state.tries = now, 0
        if source.relayed:
            self._probe_later(peer, state, now)
        else:
            self._due.pop(peer, None)
        if moved:
            self._decide(peer, state)

    def _probe_later(self, peer: int, state: _Peer, now: int) -> None:
        if state.probes < PROBES:
            due = now + PROBE * SLOWER**state.probes
            self._next = min(due, self._next) if self._due else due
            self._due[peer] = min(due, self._due.get(peer, due))

    def _decide(self, peer: int, state: _Peer) -> None:
        if state.path is not None and state.trusted and not (state.relayed and state.asked):
            self._decisions.append(Use(peer, state.path))
        else:
            self._decisions.append(Search(peer, state.path, state.heard, state.reach))
