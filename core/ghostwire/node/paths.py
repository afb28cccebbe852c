"""The engine that decides which path each peer's packets take, until paths are probed by disco.

A peer's path is the first one that completes a handshake, moved by roaming. `wanted`, `established` and
`authenticated` are the tunnel's events; *stale* is a path whose last sign of life is `TRUST` ago, *asked* one that
an initiation went over and nothing answered yet.

    state       event                    next        decision
    ---------   ----------------------   ---------   ---------------------------------------------------
    searching   wanted                   searching   Search (fan out over the candidates)
    searching   established(path)        trusted     Use(path)
    searching   authenticated(path)      trusted     Use(path)
    trusted     wanted, fresh            asked       Use(path) again: it may be news to a tunnel made anew
    trusted     wanted, stale            searching   Search
    asked       wanted                   searching   Search: the last initiation stayed unanswered
    trusted,    established(same path)   trusted     none
    asked       established(other)       trusted     Use(other)
                authenticated(other)     trusted     Use(other): the peer has roamed
    trusted     links_changed            asked       none: the next initiation fans out
    any         keep without the peer    forgotten   none

No state has a deadline: the tunnel's own timers bring the events.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ghostwire import Path
from ghostwire.engine import SECOND

TRUST = 180 * SECOND
"""A session's longest life: without a handshake for that long, a path is only a guess."""


@dataclass(frozen=True, slots=True)
class Search:
    """Send to this peer over all candidates, ``guess`` first."""

    peer: int
    guess: Path | None


@dataclass(frozen=True, slots=True)
class Use:
    """Send to this peer over this path."""

    peer: int
    path: Path


Decision = Search | Use


@dataclass(slots=True)
class _Peer:
    path: Path | None = None
    trusted: bool = False
    asked: bool = False
    confirmed: int = 0


class Paths:
    """The path of every peer. `drain` gives the decisions that the last call led to."""

    def __init__(self) -> None:
        self._peers: dict[int, _Peer] = {}
        self._decisions: list[Decision] = []

    def wanted(self, peer: int, now: int) -> None:
        """An initiation is about to go to this peer."""
        state = self._peers.setdefault(peer, _Peer())
        if state.trusted and not state.asked and now - state.confirmed < TRUST:
            state.asked = True
            self._decide(peer, state)
            return
        state.trusted = state.asked = False
        self._decide(peer, state)

    def established(self, peer: int, source: Path, now: int) -> None:
        """A handshake with this peer was completed over ``source``."""
        self._confirm(peer, source, now)

    def authenticated(self, peer: int, source: Path, now: int) -> None:
        """An authenticated datagram of this peer came from ``source``."""
        self._confirm(peer, source, now)

    def links_changed(self) -> None:
        """This machine's own links changed: every path has to prove itself again."""
        for state in self._peers.values():
            state.asked = True

    def keep(self, peers: Collection[int]) -> None:
        """Forget all peers but these."""
        self._peers = {id_: state for id_, state in self._peers.items() if id_ in peers}

    def trusted(self, peer: int) -> Path | None:
        """The peer's confirmed path, or None while it has none."""
        state = self._peers.get(peer)
        return state.path if state is not None and state.trusted else None

    def last(self, peer: int) -> Path | None:
        """The path that worked last, trusted or not."""
        state = self._peers.get(peer)
        return state.path if state is not None else None

    def drain(self) -> list[Decision]:
        """The decisions since the last call, in order."""
        decisions, self._decisions = self._decisions, []
        return decisions

    def _confirm(self, peer: int, source: Path, now: int) -> None:
        state = self._peers.setdefault(peer, _Peer())
        moved = not state.trusted or state.path != source
        state.path, state.trusted, state.asked, state.confirmed = source, True, False, now
        if moved:
            self._decide(peer, state)

    def _decide(self, peer: int, state: _Peer) -> None:
        if state.trusted and state.path is not None:
            self._decisions.append(Use(peer, state.path))
        else:
            self._decisions.append(Search(peer, state.path))
