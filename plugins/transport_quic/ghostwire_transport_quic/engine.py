"""All connections of one UDP port, without sockets: datagrams, sources and time in; datagrams and deliveries out.

    send, receive, advance -> flush -> take_sends, take_deliveries -> deadline

Early data may be replayed by whoever recorded it. That does no harm: tickets are good for one use, and what is inside
has its own defence, WireGuard's replay window and disco's transaction numbers. The library takes its own randomness
from the operating system; ours is injected.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from ghostwire import BURST, Buffer
from ghostwire.engine import SECOND, Entropy
from ghostwire_transport_quic.admission import Admission, Verdict
from ghostwire_transport_quic.counters import Counters
from ghostwire_transport_quic.guests import Guests, neighbourhood
from ghostwire_transport_quic.header import CID_BYTES, VERSION, Header, destination, parse_header, version_negotiation
from ghostwire_transport_quic.library import LARGEST, Ended, Issued, Library, Retired
from ghostwire_transport_quic.link import Link
from ghostwire_transport_quic.remote import Address, Remote
from ghostwire_transport_quic.tickets import Tickets

SMALLEST_INITIAL = 1_200
"""Servers ignore first packets in smaller UDP datagrams (RFC 9000 section 14.1)."""
DIALLED = 1_024
"""The most connections dialled."""
FIRST_WAIT, LONGEST_WAIT = 1 * SECOND, 30 * SECOND


class Endpoint:
    """``pin`` is this node's own, told to those that are dialled."""

    def __init__(self, library: Library, pin: bytes, entropy: Entropy, counters: Counters) -> None:
        self._library, self._pin, self._entropy, self._counters = library, pin, entropy, counters
        self._admission = Admission(entropy)
        self._given, self._got = Tickets(), Tickets()
        self._by_cid: dict[bytes, Link] = {}
        self._links: dict[Link, None] = {}
        self._dialled: dict[Remote, Link] = {}
        self._incoming: dict[Remote, Link] = {}
        self._waits: OrderedDict[Remote, tuple[int, int]] = OrderedDict()
        self._guests = Guests()
        self._touched: list[Link] = []
        self._timers: list[tuple[int, int, Link]] = []
        self._order = itertools.count()
        self._sends: list[tuple[bytes, Address]] = []
        self._deliveries: list[tuple[Remote, list[bytes]]] = []

    @property
    def connections(self) -> int:
        """How many there are, handshakes included."""
        return len(self._links)

    def send(self, remote: Remote, datagrams: Sequence[Buffer], now: int) -> bool:
        """Send or queue a burst, dialling where nothing is open; False where any datagram was dropped."""
        link = self._way(remote, now) or self._dial(remote, now) or self._incoming.get(remote)
        if link is None:
            self._counters.dropped_waiting += len(datagrams)
            return False
        self._answer(link)
        whole = True
        for datagram in datagrams:
            if 0 < len(datagram) <= LARGEST:
                whole &= link.push(bytes(datagram), now)
            else:
                self._counters.dropped_oversize += 1
                whole = False
        self._touch(link)
        return whole

    def receive(self, datagrams: Iterable[bytes], source: Address, now: int) -> None:
        """Take UDP datagrams of one source, whoever sent them."""
        for cid, run in itertools.groupby(datagrams, destination):
            link = self._by_cid.get(cid)
            if link is not None:
                self._take(link, list(run), source, now)
                continue
            for datagram in run:
                self._first(datagram, source, now)

    def _first(self, datagram: bytes, source: Address, now: int) -> None:
        """Take one that may open a connection, or be another one to what the one before it opened."""
        header = parse_header(datagram)
        link = None if header is None else self._by_cid.get(header.to)
        if header is not None and link is None:
            link = self._stranger(header, len(datagram), source, now)
        if link is None:
            self._counters.unknown += 1
        else:
            self._take(link, [datagram], source, now)

    def _take(self, link: Link, datagrams: list[bytes], source: Address, now: int) -> None:
        if not link.admits(source):
            self._counters.refused_moves += len(datagrams)
            return
        self._guard(link, partial(link.connection.receive, datagrams, source, now / SECOND), now)
        link.heard()

    def flush(self, now: int) -> None:
        """Have every connection that was touched say what it sends and when it wants to be called."""
        touched, self._touched = self._touched, []
        for link in touched:
            link.touched = False
            self._guard(link, partial(self._transmit, link, now), now)
            if not link.over and link.connection.closing:
                self._end(link, now)
            self._arm(link)

    def take_sends(self) -> list[tuple[bytes, Address]]:
        """UDP datagrams to send."""
        sends, self._sends = self._sends, []
        return sends

    def take_deliveries(self) -> Iterable[tuple[Remote, list[bytes]]]:
        """What arrived, in bursts of one source."""
        deliveries, self._deliveries = self._deliveries, []
        return deliveries

    def deadline(self) -> int | None:
        """When `advance` must be called next."""
        while self._timers and (self._timers[0][2].over or self._timers[0][2].armed != self._timers[0][0]):
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def advance(self, now: int) -> None:
        """Do what is due."""
        while (deadline := self.deadline()) is not None and deadline <= now:
            link = heapq.heappop(self._timers)[2]
            link.armed = None
            self._guard(link, partial(self._due, link, now), now)
            self._touch(link)

    def close(self, now: int) -> None:
        """Tell every peer that this end goes; drain `take_sends` once more."""
        for link in list(self._links):
            self._guard(link, link.connection.close, now)
            self._touch(link)
        self.flush(now)

    def _due(self, link: Link, now: int) -> None:
        if not link.due(now):
            self._leave(link, now)

    def _transmit(self, link: Link, now: int) -> None:
        fed = True
        while fed:
            fed = link.feed(now)
            self._sends += link.connection.transmit(now / SECOND)

    def _guard(self, link: Link, work: Callable[[], object], now: int) -> None:
        """Do it, follow the events; a library that fails on what came from the network costs that connection."""
        if link.over:
            return
        try:
            work()
            self._follow(link, now)
        except Exception:  # libraries let parsers' errors of every type through
            self._counters.errors += 1
            self._end(link, now)
        self._touch(link)

    def _follow(self, link: Link, now: int) -> None:
        known = link.remote, link.complete
        for event in link.connection.events():
            if isinstance(event, Issued):
                link.cids.add(event.cid)
                self._by_cid[event.cid] = link
            elif isinstance(event, Retired):
                link.cids.discard(event.cid)
                self._by_cid.pop(event.cid, None)
            elif isinstance(event, Ended):
                self._end(link, now)
            elif not link.take(event, now):
                link.connection.close()
                link.received.clear()
                return
        if link.remote is not None:
            if known != (link.remote, link.complete):
                self._name(link, link.remote)
            self._deliver(link, link.remote)

    def _name(self, link: Link, remote: Remote) -> None:
        """The newest complete one from a remote end is sure to live; one that is not complete has proven nothing."""
        if link.dialled:
            self._waits.pop(remote, None)
        elif not link.over and (link.complete or remote not in self._incoming):
            self._incoming[remote] = link

    def _answer(self, link: Link) -> None:
        """The mesh sends on it: no stranger's."""
        link.answered = True
        home = self._guests.answered(link)
        if home is not None:
            self._admission.befriend(home)

    def _deliver(self, link: Link, remote: Remote) -> None:
        received, link.received = link.received, []
        self._counters.received += len(received)
        for start in range(0, len(received), BURST):
            self._deliveries.append((remote, received[start : start + BURST]))

    def _way(self, remote: Remote, now: int) -> Link | None:
        """The connection to use: one that was dialled, since its other end proved the pin; else one that came and,
        since that one only says whose it is, answers."""
        dialled, incoming = self._dialled.get(remote), self._incoming.get(remote)
        if incoming is not None and incoming.mute(now):
            incoming = None
        return dialled if dialled is not None and (dialled.ready or incoming is None) else incoming

    def _dial(self, remote: Remote, now: int) -> Link | None:
        if now < self._waits.get(remote, (0, 0))[0] or len(self._dialled) >= DIALLED:
            return None
        ticket = self._got.take(remote.pin)
        connection = self._library.dial(ticket, partial(self._got.keep, remote.pin))
        link = self._dialled[remote] = Link(connection, now, self._counters, remote=remote)
        self._add(link)
        self._admission.befriend(neighbourhood(remote.address[0]))
        self._counters.dialled += 1
        link.ready = ticket is not None
        self._guard(link, partial(self._open, link, remote, now), now)
        return None if link.over else link

    def _open(self, link: Link, remote: Remote, now: int) -> None:
        link.connection.connect(remote.address, now / SECOND)
        link.connection.send_stream(self._pin)

    def _stranger(self, header: Header, size: int, source: Address, now: int) -> Link | None:
        """A new connection for a first packet, if it is one and may come in."""
        if header.version is None or size < SMALLEST_INITIAL or header.version == 0:
            return None
        if header.version != VERSION:
            if self._admission.may_answer(now):
                self._sends.append((version_negotiation(header), source))
            return None
        if header.token is None or len(header.to) < CID_BYTES:
            return None
        original = self._admission.original(source, header.to, header.token, now) if header.token else None
        home = neighbourhood(source[0])
        verdict = self._judge(home, now, proven=original is not None)
        if verdict is Verdict.ACCEPT:
            return self._accept(header, original, source, now)
        if verdict is Verdict.RETRY and original is None:
            self._retry(header, source, now)
        else:
            self._counters.refused_strangers += 1
        return None

    def _judge(self, home: str, now: int, *, proven: bool) -> Verdict:
        if not self._guests.fit(home):
            return Verdict.REFUSE
        return self._admission.judge(home, now, proven=proven, crowded=self._guests.crowded)

    def _accept(self, header: Header, original: bytes | None, source: Address, now: int) -> Link:
        oldest = self._guests.yielding()
        if oldest is not None:
            self._guard(oldest, partial(self._leave, oldest, now), now)
        proven = original is not None
        connection = self._library.accept(
            original or header.to,
            header.to if proven else None,
            partial(self._given_to, source[0], proven),
            lambda ticket: self._given.keep(ticket.ticket, (source[0], ticket)),
        )
        link = Link(connection, now, self._counters, source=source)
        link.cids.add(header.to)
        self._add(link)
        self._guests.add(link, neighbourhood(source[0]))
        self._counters.accepted += 1
        return link

    def _given_to(self, host: str, proven: bool, key: bytes) -> Any:
        """The ticket that was given to this host. Early data comes before an address is proven by a handshake, so what
        another host was given is good only for who proved his by a Retry."""
        owner, ticket = self._given.take(key) or ("", None)
        return ticket if proven or owner == host else None

    def _retry(self, header: Header, source: Address, now: int) -> None:
        cid = self._entropy(CID_BYTES)
        token = self._admission.token(source, header.to, cid, now)
        self._sends.append((self._library.retry(cid, header.source, header.to, token), source))
        self._counters.retried += 1

    def _add(self, link: Link) -> None:
        self._links[link] = None
        for cid in link.cids:
            self._by_cid[cid] = link

    def _leave(self, link: Link, now: int) -> None:
        """End it, and tell the other end where that has proven its address."""
        if link.complete:
            link.connection.close()
            self._sends += link.connection.transmit(now / SECOND)
        self._end(link, now)

    def _end(self, link: Link, now: int) -> None:
        """Forget it; who dialled in vain waits before he dials again."""
        if link.over:
            return
        link.over = True
        self._links.pop(link, None)
        self._guests.remove(link)
        for cid in link.cids:
            if self._by_cid.get(cid) is link:
                del self._by_cid[cid]
        remote = link.remote
        if remote is not None:
            for table in (self._dialled, self._incoming):
                if table.get(remote) is link:
                    del table[remote]
            if link.dialled and not (link.complete and link.ready):
                self._back_off(remote, now)
        self._counters.dropped_waiting += len(link.queue)
        link.queue.clear()

    def _back_off(self, remote: Remote, now: int) -> None:
        wait = min(2 * self._waits.pop(remote, (0, FIRST_WAIT // 2))[1], LONGEST_WAIT)
        self._waits[remote] = (now + wait, wait)
        if len(self._waits) > DIALLED:
            self._waits.popitem(last=False)

    def _touch(self, link: Link) -> None:
        if not link.touched and not link.over:
            link.touched = True
            self._touched.append(link)

    def _arm(self, link: Link) -> None:
        deadline = None if link.over else link.deadline()
        if deadline is not None and deadline != link.armed:
            link.armed = deadline
            heapq.heappush(self._timers, (deadline, next(self._order), link))
