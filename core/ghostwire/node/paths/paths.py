"""Path choice for all peers: one engine a peer, made when it first has to do with something (see `peer`)."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable

from ghostwire import Activity, Path
from ghostwire.engine import Entropy
from ghostwire.node.paths.decisions import Decision
from ghostwire.node.paths.peer import PeerPaths
from ghostwire.node.paths.shared import Shared, State


class Paths:
    """An engine: after each event `drain` gives the decisions it led to.

    ``activity`` tells when a peer's data moved, ``rank`` a transport's rank by its name, ``relay`` the relayed path to
    a peer, ``known`` the direct ones that are remembered when it wakes, ``plain`` whether it speaks no disco.
    """

    def __init__(
        self,
        entropy: Entropy,
        activity: Callable[[int], Activity],
        *,
        rank: Callable[[str], int],
        relay: Callable[[int], Path | None],
        known: Callable[[int], Iterable[Path]],
        plain: Callable[[int], bool] = lambda peer: False,
    ) -> None:
        self._shared = Shared(entropy=entropy, activity=activity, rank=rank, known=known, plain=plain)
        self._relay = relay
        self._peers: dict[int, PeerPaths] = {}
        self._timers: list[tuple[int, int]] = []
        self._queued: dict[int, int] = {}
        self._searching: set[int] = set()

    # What happens

    def awake(self, peer: int, now: int) -> None:
        """Data moves again."""
        self._settle(self._peer(peer, now), PeerPaths.wake, now, "data moves")

    def wanted(self, peer: int, now: int) -> None:
        """A handshake is about to begin."""
        self._settle(self._peer(peer, now), PeerPaths.wake, now, "a handshake begins")

    def authenticated(self, peer: int, source: Path, now: int) -> None:
        """Authentic packets came over a path that is not in use."""
        self._settle(self._peer(peer, now), PeerPaths.heard, source, now)

    def established(self, peer: int, source: Path, now: int) -> None:
        """A handshake was completed over ``source``."""
        self._settle(self._peer(peer, now), PeerPaths.established, source, now)

    def pinged(self, peer: int, source: Path, now: int) -> None:
        """A disco ping of this peer came from there."""
        self._settle(self._peer(peer, now), PeerPaths.pinged, source, now)

    def ponged(self, peer: int, source: Path, transaction: bytes, now: int) -> bool:
        """A disco pong came from there; whether it answers a ping over a direct path. Over a relay it says nothing of
        one."""
        asked = self._shared.pings.take(transaction, peer, now)
        state = self._peers.get(peer)
        if asked is None or state is None or source.relayed is not (asked.candidate is None):
            return False
        if asked.candidate is None:
            state.proceed(now, heard=True)
        else:
            state.ponged(asked.candidate, now - asked.at, now, padded=asked.padded)
        self._arm(state)
        return asked.candidate is not None

    def called(self, peer: int, paths: Collection[Path], now: int) -> None:
        """The peer asks to be pinged over these paths."""
        self._settle(self._peer(peer, now), PeerPaths.called, paths, now)

    def uncalled(self, peer: int, now: int) -> None:
        """A call to this peer could not be sent."""
        if state := self._peers.get(peer):
            state.proceed(now, heard=False)
            self._arm(state)

    def offered(self, peer: int, paths: Iterable[Path], now: int) -> None:
        """The server says over which paths the peer may be reached."""
        if state := self._peers.get(peer):
            self._settle(state, PeerPaths.offered, paths, now)

    def rehomed(self, peer: int, now: int) -> None:
        """The relayed path to this peer may be another."""
        if state := self._peers.get(peer):
            self._settle(state, PeerPaths.relayed, self._relay(peer), now)

    def links_changed(self, now: int) -> None:
        """This machine's links changed."""
        for state in self._peers.values():
            self._settle(state, PeerPaths.links_changed, now)

    def endpoints_changed(self, now: int) -> None:
        """This node can be reached elsewhere than before."""
        for state in self._peers.values():
            self._settle(state, PeerPaths.endpoints_changed, now)

    def forget(self, peer: int) -> None:
        """It is a peer no longer."""
        self._peers.pop(peer, None)
        self._queued.pop(peer, None)
        self._searching.discard(peer)

    # What there is

    def get(self, peer: int) -> PeerPaths | None:
        """A peer's engine, where it has one."""
        return self._peers.get(peer)

    @property
    def known(self) -> Iterable[int]:
        """The peers that have an engine."""
        return self._peers.keys()

    def in_use(self, peer: int) -> Path | None:
        """The path that carries a peer's packets: the direct one in use (of one asleep, the last), the relayed one
        where there is none, None for a peer that was never dealt with."""
        state = self._peers.get(peer)
        if state is None or state.attached is None:
            return None
        direct = state.guess if state.state is State.ASLEEP else state.best
        return direct.path if direct is not None else state.relay or next(iter(state.attached), None)

    @property
    def searching(self) -> bool:
        """Whether any peer is awake and no path to it is trusted."""
        return bool(self._searching)

    # Time

    def deadline(self) -> int | None:
        """When the next engine is due; may be early."""
        return self._timers[0][0] if self._timers else None

    def advance(self, now: int) -> None:
        """Advance those that are due."""
        while self._timers and self._timers[0][0] <= now:
            when, peer = heapq.heappop(self._timers)
            if self._queued.get(peer) != when:
                continue
            del self._queued[peer]
            state = self._peers[peer]
            if state.due is not None and state.due <= now:
                state.advance(now)
            self._arm(state)

    def drain(self) -> list[Decision]:
        """The decisions since the last call, in order."""
        decisions, self._shared.decisions = self._shared.decisions, []
        return decisions

    def _peer(self, peer: int, now: int) -> PeerPaths:
        state = self._peers.get(peer)
        if state is None:
            state = PeerPaths(self._shared, peer, self._relay(peer), now)
            self._peers[peer] = state
        return state

    def _settle(self, state: PeerPaths, event: Callable[..., None], *about: object) -> None:
        event(state, *about)
        self._arm(state)

    def _arm(self, state: PeerPaths) -> None:
        """Queue what is due; an entry that comes too early is put back by itself."""
        if state.state in (State.SEARCHING, State.DOUBTED):
            self._searching.add(state.id)
        else:
            self._searching.discard(state.id)
        due, queued = state.due, self._queued.get(state.id)
        if due is not None and (queued is None or due < queued):
            self._queued[state.id] = due
            heapq.heappush(self._timers, (due, state.id))
