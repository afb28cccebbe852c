"""Carries out path choice: what tunnel, disco, server and links tell goes in, paths, pings and calls come out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from ghostwire import Activity, Path, Tunnel
from ghostwire.driver import Driver
from ghostwire.engine import Clock, Entropy
from ghostwire.model import Endpoint
from ghostwire.node.candidates import Candidates
from ghostwire.node.interest import Interests
from ghostwire.node.paths.decisions import Ask, Attach, Call, Decision, Ping, Rest, Trial, Trust, Want
from ghostwire.node.paths.paths import Paths
from ghostwire.node.paths.peer import PeerPaths
from ghostwire.wire.messages import MAX_ENDPOINTS, Interest

if TYPE_CHECKING:
    from ghostwire.node.disco.disco import Disco

Endpoints = tuple[Endpoint, ...]


class Whereabouts(Protocol):
    """Where this node can be reached, as far as calls need it (see `ghostwire.node.endpoints`)."""

    @property
    def fresh(self) -> bool:
        """Whether it was found out lately."""

    def addresses(self) -> tuple[str, ...]:
        """As ``address:port``."""

    def refresh(self, then: Callable[[], object]) -> None:
        """Find out again; ``then`` is called when that is done."""

    def busy(self, active: bool) -> None:
        """Whether to keep finding out."""

    def seen(self, mapped: str) -> None:
        """A peer sees this node's packets come from this ``address:port``."""


class Director:
    """The `TunnelEvents` of the node's tunnel, and the `DiscoEvents` of its disco; `direct` comes before both.

    ``endpoints`` are peers' last known ones, kept here as the server updates them; ``declare`` sends an interest;
    ``moved`` is called when another direct path to a peer was found to work.
    """

    def __init__(
        self,
        candidates: Candidates,
        endpoints: dict[int, Endpoints],
        clock: Clock,
        entropy: Entropy,
        declare: Callable[[Interest], object],
        moved: Callable[[], object],
    ) -> None:
        self._candidates, self._endpoints, self._clock = candidates, endpoints, clock
        self._declare, self._moved = declare, moved
        self._paths = Paths(
            entropy,
            self._activity,
            rank=candidates.rank,
            relay=candidates.relayed,
            known=self._known,
            plain=candidates.plain,
        )
        self._interests = Interests()
        self._interest_driver = Driver(self._interests, clock, self._declare_all)
        self._driver = Driver(self._paths, clock, self._decide)
        self._tunnel: Tunnel | None = None
        self._disco: Disco | None = None
        self._whereabouts: Whereabouts | None = None
        self._said: tuple[str, ...] | None = None
        """What calls said of where this node is, while that is found out anew."""
        self.misdirected = 0
        """Datagrams of a peer that a relay brought in another node's name."""

    def direct(self, tunnel: Tunnel, disco: Disco, whereabouts: Whereabouts) -> None:
        """Attach paths to this tunnel, ping and call by this disco, saying where this node is."""
        self._tunnel, self._disco, self._whereabouts = tunnel, disco, whereabouts

    # What the tunnel tells

    def awake(self, peer: int) -> None:
        """Data moves again."""
        self._paths.awake(peer, self._clock.now())
        self._driver.settle()

    def wanted(self, peer: int) -> None:
        """An initiation is about to go to this peer."""
        self._paths.wanted(peer, self._clock.now())
        self._driver.settle()

    def authenticated(self, peer: int, source: Path) -> None:
        """An authenticated datagram came from a source that is not attached."""
        self._heard(self._paths.authenticated, peer, source)

    def established(self, peer: int, source: Path) -> None:
        """A handshake with this peer was completed over ``source``."""
        self._heard(self._paths.established, peer, source)

    # What disco tells

    def pinged(self, peer: int, source: Path) -> None:
        """A ping of this peer came from there."""
        self._paths.pinged(peer, source, self._clock.now())
        self._driver.settle()

    def ponged(self, peer: int, source: Path, transaction: bytes, mapped: str) -> None:
        """A pong of this peer came from there; ``mapped`` is where it saw the ping come from."""
        if self._paths.ponged(peer, source, transaction, self._clock.now()) and self._whereabouts is not None:
            self._whereabouts.seen(mapped)
        self._driver.settle()

    def called(self, peer: int, endpoints: tuple[str, ...]) -> None:
        """This peer asks to be pinged at these ``address:port``."""
        self._paths.called(peer, self._candidates.bare(endpoints), self._clock.now())
        self._driver.settle()

    # What the node tells

    def peer_endpoints(self, peer: int, endpoints: Endpoints) -> None:
        """The server says where the peer can be reached now."""
        self._endpoints[peer] = endpoints[:MAX_ENDPOINTS]
        self._paths.offered(peer, self._candidates.paths(self._endpoints[peer]), self._clock.now())
        self._driver.settle()

    def rehomed(self, peers: Iterable[int]) -> None:
        """These peers may have another home, or relays that lead there came or went."""
        now = self._clock.now()
        for peer in peers:
            self._paths.rehomed(peer, now)
        self._driver.settle()

    def forget(self, peers: Iterable[int]) -> None:
        """These are peers no longer."""
        for peer in peers:
            self._paths.forget(peer)
            self._interests.forget(peer)
            self._endpoints.pop(peer, None)

    def links_changed(self) -> None:
        """Every path has to prove itself again."""
        self._paths.links_changed(self._clock.now())
        self._driver.settle()

    def endpoints_changed(self) -> None:
        """This node can be reached elsewhere."""
        self._paths.endpoints_changed(self._clock.now())
        self._driver.settle()

    def reconnected(self) -> None:
        """A new control session: declare what lasts again."""
        self._interests.reconnected()
        self._interest_driver.settle()

    # What there is

    def path(self, peer: int) -> Path | None:
        """The path that carries the peer's packets, None where none does yet."""
        return self._paths.in_use(peer)

    def choice(self, peer: int) -> PeerPaths | None:
        """The peer's path choice, where it was ever dealt with."""
        return self._paths.get(peer)

    def close(self) -> None:
        """Stop the timers; later events change nothing outside."""
        self._driver.close()
        self._interest_driver.close()

    # Carrying out

    def _heard(self, event: Callable[[int, Path, int], None], peer: int, source: Path) -> None:
        path = self._candidates.source(peer, source) if source.relayed else source
        if path is None:
            self.misdirected += 1
            return
        event(peer, path, self._clock.now())
        self._driver.settle()

    def _decide(self) -> None:
        while decisions := self._paths.drain():
            for decision in decisions:
                self._carry_out(decision)
        if self._whereabouts is not None:
            self._whereabouts.busy(self._paths.searching)

    def _carry_out(self, decision: Decision) -> None:
        assert self._tunnel is not None
        assert self._disco is not None
        match decision:
            case Attach(peer, paths):
                self._tunnel.attach(peer, paths)
            case Ping(peer, path, transaction, padded, ttl):
                self._disco.ping(peer, path, transaction, padded=padded, ttl=ttl)
            case Call(peer, relay):
                self._call(peer, relay)
            case Ask(peer, relay, transaction):
                self._disco.ping(peer, relay, transaction, padded=False)
            case Want(peer):
                self._interests.want(peer, self._clock.now())
                self._interest_driver.settle()
            case Trial(peer, path):
                self._tunnel.test(peer, path)
            case Rest(peer):
                self._tunnel.rest(peer)
            case Trust(peer, path):
                self._remember(peer, path)

    def _call(self, peer: int, relay: Path) -> None:
        """What is said may be old; what is found out anew is said again."""
        assert self._disco is not None
        assert self._whereabouts is not None
        said = self._whereabouts.addresses()
        if not (said and self._disco.call_me_maybe(peer, relay, said)):
            self._paths.uncalled(peer, self._clock.now())
        if not self._whereabouts.fresh and self._said is None:
            self._said = said
            self._whereabouts.refresh(self._say_again)

    def _say_again(self) -> None:
        said, self._said = self._said, None
        if self._whereabouts is not None and self._whereabouts.addresses() != said:
            self.endpoints_changed()

    def _remember(self, peer: int, path: Path) -> None:
        """Put the path that works first among the peer's endpoints."""
        worked = Endpoint(path.transport, path.endpoint)
        known = self._endpoints.get(peer, ())
        if known[:1] != (worked,):
            self._endpoints[peer] = (worked, *(each for each in known if each != worked))[:MAX_ENDPOINTS]
            self._moved()

    def _activity(self, peer: int) -> Activity:
        return self._tunnel.activity(peer) if self._tunnel is not None else Activity()

    def _known(self, peer: int) -> Iterable[Path]:
        return self._candidates.paths(self._endpoints.get(peer, ()))

    def _declare_all(self) -> None:
        for message in self._interests.drain():
            self._declare(message)
