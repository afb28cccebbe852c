"""Disco's node side: knows its peers by key, answers their pings, and tells path choice what came.

What comes is dropped, and counted, in this order:

    no peer's key, or several nodes'                         before anything is deciphered
    over a relay that names another node as the sender       likewise
    over the rate limits, of the source and of all           likewise
    not from the key's holder, or malformed
    a ping that names another node, or is shorter than its pong
    a call-me-maybe over no relay, within a second of the peer's last, or where all peers' are too many

A ping is answered where it came from, and nothing is kept of it. Pongs are told as they come: path choice knows which
pings it sent where. Peers say where they are, and may lie: pings to where none has answered yet are bounded as well, so
that nobody floods a third party by this node's hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from ghostwire import SEALED_MTU, Buffer, Metrics, Path, parse_relay_endpoint
from ghostwire.engine import Clock, Entropy
from ghostwire.errors import LocalProtocolError, RemoteProtocolError
from ghostwire.keys import DiscoKey, NodeKey, PrivateKey
from ghostwire.model import MapChange, MapNode, NetworkMap
from ghostwire.node.addresses import address_of, is_reachable
from ghostwire.node.disco.counters import Counters
from ghostwire.node.disco.directory import Directory
from ghostwire.node.disco.events import DiscoEvents
from ghostwire.node.disco.limits import Allowance, Bucket, Standing
from ghostwire.node.disco.sessions import Session, Sessions
from ghostwire.wire import disco as wire
from ghostwire.wire.endpoint import parse_endpoint

ASKED = 5_000, 5_000
RELAYED = UNASKED = 1_000, 2_000
"""Datagrams a second, and at once, of all peers together, by the source's standing: some 5 % of a core each at most."""
CALLS = 64, 512
"""Call-me-maybes a second, and at once, of all peers: each makes path choice work for up to a millisecond."""
GUESSES = 512, 4_096
"""Pings a second, and at once, to where peers may not be at all."""
RELAY_ADDRESS = "127.3.3.40"
"""The address that stands for relays in a pong, with the region's number as port; as stock clients have it."""
_PADDING = SEALED_MTU - wire.PING_BYTES


class Disco:
    """Speaks disco with the peers of the map under this node's disco key."""

    def __init__(
        self,
        private_key: PrivateKey,
        node_key: NodeKey,
        network: NetworkMap,
        clock: Clock,
        entropy: Entropy,
        events: DiscoEvents,
    ) -> None:
        self._own, self._node_key = private_key.public(DiscoKey), node_key
        self._network, self._clock, self._entropy, self._events = network, clock, entropy, events
        self._directory = Directory(self._own, network)
        self._sessions = Sessions(private_key)
        self._allowance = Allowance(ASKED, RELAYED, UNASKED)
        self._calls, self._guesses = Bucket(*CALLS), Bucket(*GUESSES)
        self.counters = Counters()
        self.follow(None)

    def follow(self, change: MapChange | None) -> None:
        """The map changed so (None: all of it may be new)."""
        self._directory.follow(change)

    def register(self, metrics: Metrics) -> None:
        """Register what is counted."""
        self.counters.register(metrics)
        metrics.gauge(
            "ghostwire_node_disco_shared_keys",
            "Disco keys that several nodes of the map have, with whom none is spoken.",
            lambda: self._directory.shared,
        )

    def ping(self, peer: int, path: Path, transaction: bytes, *, padded: bool, ttl: int | None = None) -> bool:
        """Ask for a pong over this path; False where it was not sent. A padded ping has `SEALED_MTU` bytes, so that
        its pong shows that the path carries full packets. One with a ``ttl`` opens this side's routers, where the
        transport can do that, and asks for nothing."""
        session = self._session_with(peer)
        if session is None or not self._may_ping(session, path):
            return False
        session.ask(path)
        ping = wire.Ping(transaction, self._node_key, _PADDING if padded else 0)
        sent = self._send(session, path, ping, ttl)
        self.counters.sent_pings += sent
        return sent

    def call_me_maybe(self, peer: int, path: Path, endpoints: Sequence[str]) -> bool:
        """Ask over a relay to be pinged at those endpoints that are ``IP:port``, of which the first
        `ghostwire.wire.disco.MAX_CALLED` count; False where there are none, or it was not sent."""
        if not path.relayed:
            raise LocalProtocolError("a call-me-maybe goes over a relayed path")
        callable_ = tuple(text for text in dict.fromkeys(endpoints) if _is_endpoint(text))[: wire.MAX_CALLED]
        session = self._session_with(peer) if callable_ else None
        sent = session is not None and self._send(session, path, wire.CallMeMaybe(callable_))
        self.counters.sent_calls += sent
        return sent

    def receive(self, source: Path, datagram: Buffer) -> None:
        """Take a datagram that begins with disco's magic."""
        key = wire.sender(datagram)
        if key is None:
            self.counters.malformed += 1
            return
        peer = self._peer(key, source)
        session = None if peer is None else self._admit(key, source)
        if peer is None or session is None:
            return
        try:
            message = wire.unseal(datagram, session.box)
        except RemoteProtocolError:
            self.counters.malformed += 1
            return
        self._sessions.hold(key).heard(source)
        self._take(peer, session, source, message, len(datagram))

    def _peer(self, key: DiscoKey, source: Path) -> MapNode | None:
        """Who sent it, where it is a peer; over a relay, that must name the same."""
        id_ = self._directory.peer(key)
        peer = None if id_ is None else self._network.nodes.get(id_)
        if peer is None:
            shared = self._directory.is_shared(key)
            self.counters.ambiguous += shared
            self.counters.strangers += not shared
        elif source.relayed and _relayed(source)[1] != peer.node_key:
            self.counters.misdirected += 1
            return None
        return peer

    def _admit(self, key: DiscoKey, source: Path) -> Session | None:
        """The session, unless the limits are reached; to make one costs as much as to hear something."""
        session, now = self._sessions.get(key), self._clock.now()
        unknown = Standing.RELAYED if source.relayed else Standing.UNASKED
        standing = session.standing(source) if session is not None else unknown
        within = session is None or session.admits(source, now)
        if not (within and self._allowance.take(standing, now)):
            self.counters.limited += 1
            return None
        return session or self._made(self._sessions.claim, key)

    def _session_with(self, peer: int) -> Session | None:
        key = self._directory.key(peer)
        return None if key is None else self._made(self._sessions.hold, key)

    def _made(self, make: Callable[[DiscoKey], Session], key: DiscoKey) -> Session | None:
        try:
            return make(key)
        except RemoteProtocolError:
            self.counters.malformed += 1
            return None

    def _may_ping(self, session: Session, path: Path) -> bool:
        """Where a peer was heard over a path that was pinged, it may be pinged as path choice likes."""
        now = self._clock.now()
        if session.is_at(path) or (session.guesses.take(now) and self._guesses.take(now)):
            return True
        self.counters.held_pings += 1
        return False

    def _take(self, peer: MapNode, session: Session, source: Path, message: wire.Message | None, size: int) -> None:
        match message:
            case wire.Ping():
                self._pinged(peer, session, source, message, size)
            case wire.Pong(transaction, mapped):
                self.counters.pongs += 1
                self._events.ponged(peer.id, source, transaction, mapped)
            case wire.CallMeMaybe(endpoints):
                self._called(peer.id, session, source, endpoints)
            case None:
                self.counters.ignored += 1

    def _pinged(self, peer: MapNode, session: Session, source: Path, ping: wire.Ping, size: int) -> None:
        """Old clients name no node."""
        if ping.node_key not in (None, peer.node_key):
            self.counters.misdirected += 1
        elif size < wire.PONG_BYTES:
            self.counters.short_pings += 1
        else:
            self.counters.pings += 1
            pong = wire.Pong(ping.transaction, _observed(source))
            self._send(session, source, pong)
            self._events.pinged(peer.id, source)

    def _called(self, peer: int, session: Session, source: Path, endpoints: Iterable[str]) -> None:
        if not source.relayed:
            self.counters.direct_calls += 1
        elif not session.calls.take(self._clock.now()):
            self.counters.frequent_calls += 1
        elif not self._calls.take(self._clock.now()):
            self.counters.limited += 1
        else:
            self.counters.calls += 1
            told = tuple(dict.fromkeys(endpoints))
            kept = tuple(text for text in told if _may_live_at(text))
            self.counters.refused_endpoints += len(told) - len(kept)
            self._events.called(peer, kept)

    def _send(self, session: Session, path: Path, message: wire.Message, ttl: int | None = None) -> bool:
        datagram = wire.seal(message, self._own, session.box, self._entropy)
        return (ttl is not None and path.knock(datagram, ttl)) or path.send([datagram])


def _relayed(source: Path) -> tuple[int, NodeKey | None]:
    """The region and the node that a relayed path leads to."""
    try:
        return parse_relay_endpoint(source.endpoint)
    except ValueError:
        return 0, None


def _observed(source: Path) -> str:
    """Where a ping came from, as its pong says it; empty where that is no address and port."""
    if not source.relayed:
        return source.endpoint if _is_endpoint(source.endpoint) else ""
    port = _relayed(source)[0] % 65_536
    return f"{RELAY_ADDRESS}:{port}" if port else ""


@lru_cache(1_024)
def _is_endpoint(text: str) -> bool:
    try:
        parse_endpoint(text)
    except ValueError:
        return False
    return True


def _may_live_at(endpoint: str) -> bool:
    address = address_of(endpoint)
    return address is not None and is_reachable(address)
