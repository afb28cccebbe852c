"""Carries out path decisions: the tunnel's events in, paths attached and interests declared out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ghostwire import Path, Tunnel
from ghostwire.driver import Driver
from ghostwire.engine import Clock
from ghostwire.model import Endpoint
from ghostwire.node.candidates import Candidates
from ghostwire.node.fanout import FanOut
from ghostwire.node.interest import Interests
from ghostwire.node.paths.by_handshake import Answer, Paths, Renew, Search, Use
from ghostwire.wire.messages import MAX_ENDPOINTS, Interest

Endpoints = tuple[Endpoint, ...]


class Director:
    """The `TunnelEvents` of the node's tunnel.

    ``endpoints`` are peers' last known ones, kept here as the server updates them; ``declare`` sends an interest;
    ``moved`` is called when a peer's path was confirmed or changed.
    """

    def __init__(
        self,
        candidates: Candidates,
        endpoints: dict[int, Endpoints],
        clock: Clock,
        declare: Callable[[Interest], object],
        moved: Callable[[], object],
    ) -> None:
        self._candidates, self._endpoints, self._clock = candidates, endpoints, clock
        self._declare, self._moved = declare, moved
        self._paths, self._interests = Paths(self._backed), Interests()
        self._driver = Driver(self._interests, clock, self._declare_all)
        self._prober = Driver(self._paths, clock, self._decide)
        self._searches: dict[int, FanOut] = {}
        self._attach: Callable[[int, Sequence[Path]], None] = _nowhere
        self._renew: Callable[[int], None] = _never
        self.misdirected = 0
        """Datagrams of a peer that a relay brought in another node's name."""

    def direct(self, tunnel: Tunnel) -> None:
        """Attach paths to this tunnel."""
        self._attach, self._renew = tunnel.attach, tunnel.renew

    def awake(self, peer: int) -> None:
        """Data moves again."""

    def wanted(self, peer: int) -> None:
        """An initiation is about to go to this peer."""
        self._paths.wanted(peer, self._clock.now())
        self._prober.settle()

    def authenticated(self, peer: int, source: Path) -> None:
        """An authenticated datagram came from a source that is not attached."""
        self._heard(self._paths.authenticated, peer, source)

    def established(self, peer: int, source: Path) -> None:
        """A handshake with this peer was completed over ``source``."""
        self._heard(self._paths.established, peer, source)

    def peer_endpoints(self, peer: int, endpoints: Endpoints) -> None:
        """The server says where the peer can be reached now; a search under way tries the new ones at once."""
        known = self._endpoints.get(peer, ())
        self._endpoints[peer] = endpoints[:MAX_ENDPOINTS]
        last = self._paths.last(peer)
        if last is not None:
            self._remember(peer, last)
        self._offer(peer)
        if not set(endpoints) <= set(known):
            self._paths.found(peer, self._clock.now())
            self._prober.settle()

    def rehomed(self, peers: Iterable[int]) -> None:
        """These peers may have another home, or relays that lead there came or went."""
        for peer in peers:
            self._offer(peer)
            last = self._paths.last(peer)
            if last is not None and last.relayed:
                for path in self._candidates.relayed(peer)[:1]:
                    self._paths.moved(peer, path)
        self._prober.settle()

    def forget(self, peers: Iterable[int]) -> None:
        """These are peers no longer."""
        for peer in peers:
            self._paths.forget(peer)
            self._interests.forget(peer)
            self._searches.pop(peer, None)
            self._endpoints.pop(peer, None)

    def links_changed(self) -> None:
        """Every path has to prove itself again."""
        self._paths.links_changed(self._clock.now())
        self._prober.settle()

    def reconnected(self) -> None:
        """A new control session: declare what lasts again."""
        self._interests.reconnected()
        self._driver.settle()

    def path(self, peer: int) -> Path | None:
        """The peer's confirmed path."""
        return self._paths.trusted(peer)

    def close(self) -> None:
        """Stop the timers; later events change nothing outside."""
        self._driver.close()
        self._prober.close()
        self._attach, self._renew = _nowhere, _never

    def _heard(self, event: Callable[[int, Path, int], None], peer: int, source: Path) -> None:
        path = self._candidates.source(peer, source) if source.relayed else source
        if path is None:
            self.misdirected += 1
            return
        event(peer, path, self._clock.now())
        self._prober.settle()

    def _decide(self) -> None:
        for decision in self._paths.drain():
            match decision:
                case Use():
                    self._use(decision)
                case Search():
                    self._search(decision)
                case Answer(peer, path):
                    self._searches[peer].heard = path
                case Renew(peer):
                    self._probe(peer)

    def _use(self, decision: Use) -> None:
        self._searches.pop(decision.peer, None)
        self._attach(decision.peer, (decision.path,))
        if self._remember(decision.peer, decision.path):
            self._moved()

    def _search(self, decision: Search) -> None:
        peer = decision.peer
        search = self._searches.setdefault(peer, FanOut(self._clock))
        search.heard = decision.heard
        search.offer(self._candidates_of(peer, decision.guess), decision.reach)
        self._attach(peer, (search,))
        self._interests.want(peer, self._clock.now())
        self._driver.settle()

    def _probe(self, peer: int) -> None:
        """A handshake may win a better path, where there is one to try."""
        if any(not path.relayed for path in self._candidates_of(peer, self._paths.last(peer))):
            self._renew(peer)

    def _offer(self, peer: int) -> None:
        search = self._searches.get(peer)
        if search is not None:
            search.offer(self._candidates_of(peer, self._paths.last(peer)), search.reach)

    def _candidates_of(self, peer: int, guess: Path | None) -> tuple[Path, ...]:
        return self._candidates.paths(peer, self._endpoints.get(peer, ()), guess)

    def _backed(self, peer: int) -> bool:
        return bool(self._candidates.relayed(peer))

    def _remember(self, peer: int, path: Path) -> bool:
        """Put the direct path that works first among the peer's endpoints; whether that was news."""
        worked = Endpoint(path.transport, path.endpoint)
        known = self._endpoints.get(peer, ())
        if path.relayed or known[:1] == (worked,):
            return False
        self._endpoints[peer] = (worked, *(each for each in known if each != worked))[:MAX_ENDPOINTS]
        return True

    def _declare_all(self) -> None:
        for message in self._interests.drain():
            self._declare(message)


def _nowhere(peer: int, paths: Sequence[Path]) -> None:
    """Where paths go before there is a tunnel, and after."""


def _never(peer: int) -> None:
    """What a probe does before there is a tunnel."""
