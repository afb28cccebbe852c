"""One connection, its queue of fresh datagrams, and whose it is."""

from __future__ import annotations

import hmac
from collections import deque

from ghostwire.engine import SECOND
from ghostwire_transport_quic.counters import Counters
from ghostwire_transport_quic.library import Completed, Connection, Datagram, Stream
from ghostwire_transport_quic.remote import PIN_BYTES, Address, Remote

QUEUE = 128
"""How many datagrams wait for the network; the oldest is dropped for one more."""
EARLY = 64
"""How many may come before the hello that says from whom."""
EARLY_LARGEST = 1_200
"""What one packet carries before the handshake is complete: its header is longer, and libraries keep to 1280 bytes."""
HANDSHAKE = 5 * SECOND
PROBATION = 10 * SECOND
"""How long an accepted connection may last before the mesh sends something on it, which it does for peers only."""
MUTE = 15 * SECOND
"""WireGuard answers within 10 s whatever it gets: who takes data longer than this without a word is not the peer."""
SILENCE = 5 * SECOND
"""How long nothing may come back while there is data to send: QUIC acknowledges every datagram, and what waits for room
waits for acknowledgements."""
KEEPALIVE = 15 * SECOND
LIVELY = 60 * SECOND
"""For how long after the last data a mapping in a NAT is kept."""


class Link:
    """``remote`` is that of a dialled connection; ``source`` is where an accepted one came from.

    An accepted one has no ``remote`` until its hello came. ``ready``: what is sent reaches only that remote.

    A dialled one is ready when the server's certificate has the pin, or at once with a ticket: it was given by the
    server that had shown the pin, and nobody else can use it.
    """

    def __init__(
        self,
        connection: Connection,
        now: int,
        counters: Counters,
        *,
        remote: Remote | None = None,
        source: Address | None = None,
    ) -> None:
        self.connection, self.remote, self.dialled = connection, remote, remote is not None
        self.cids: set[bytes] = {connection.cid}
        self.queue: deque[bytes] = deque()
        self.received: list[bytes] = []
        self.ready = self.complete = self.over = self.touched = self.answered = False
        self.armed: int | None = None
        self._counters = counters
        self._hello, self._stream = b"", None if self.dialled else -1
        self._began = self._moved = self._said = now
        self._source = source
        self._unanswered: int | None = None
        self._asked: int | None = None

    @property
    def settled(self) -> bool:
        """Whether the handshake is complete, and the other end has a name."""
        return self.complete and self.remote is not None

    def admits(self, source: Address) -> bool:
        """Whether it takes packets from there. Until its name is settled an accepted one takes them from one address,
        so that the handshake proves just that one: nobody gets a name with another's address in it."""
        return self.settled or self.dialled or source == self._source

    def mute(self, now: int) -> bool:
        """Whether data was sent for long, and none came back."""
        return self._asked is not None and now >= self._asked + MUTE

    def push(self, datagram: bytes, now: int) -> bool:
        """Queue for sending; False where an older one was dropped for it."""
        self.queue.append(datagram)
        self._moved = now
        self._asked = now if self._asked is None else self._asked
        self._unanswered = now if self._unanswered is None else self._unanswered
        if len(self.queue) <= QUEUE:
            return True
        self.queue.popleft()
        self._counters.dropped_oldest += 1
        return False

    def feed(self, now: int) -> bool:
        """Hand to QUIC what it can send now; whether that was anything."""
        if not self.queue or not self.ready:
            return False
        count, room = 0, self.connection.room()
        while self.queue and count < room and (self.complete or len(self.queue[0]) <= EARLY_LARGEST):
            self.connection.send_datagram(self.queue.popleft())
            count += 1
        if count > 0:
            self._counters.sent += count
            self._said = now
        return count > 0

    def heard(self) -> None:
        """Something came from the other end."""
        self._unanswered = None

    def take(self, event: Datagram | Stream | Completed, now: int) -> bool:
        """Follow an event; False where the connection must end for it."""
        if isinstance(event, Datagram):
            return self._datagram(event.data, now)
        return self._completed(event) if isinstance(event, Completed) else self._bytes(event)

    def _datagram(self, data: bytes, now: int) -> bool:
        self._moved, self._asked = now, None
        if self.remote is None and len(self.received) >= EARLY:
            self._counters.dropped_early += 1
        else:
            self.received.append(data)
        return True

    def _completed(self, event: Completed) -> bool:
        self.complete = True
        if self.dialled and not event.resumed and not self._pinned():
            self.ready = False
            self._counters.refused_pin += 1
            return False
        self._counters.resumed += event.resumed
        self.ready = self.remote is not None
        return True

    def _pinned(self) -> bool:
        """Whether the server showed the certificate that its endpoint names."""
        shown = self.connection.pin()
        return shown is not None and self.remote is not None and hmac.compare_digest(shown, self.remote.pin)

    def _bytes(self, event: Stream) -> bool:
        """The hello is the dialler's one stream: its own pin."""
        if self._stream == -1:
            self._stream = event.number
        self._hello += event.data
        if event.number != self._stream or len(self._hello) > PIN_BYTES or (event.ended and self._short()):
            self._counters.refused_hello += 1
            return False
        if event.ended and self._source is not None and self.remote is None:
            self.remote = Remote(self._source, self._hello)
            self.ready = self.complete
        return True

    def _short(self) -> bool:
        return len(self._hello) < PIN_BYTES

    def deadline(self) -> int | None:
        """When `due` must be called."""
        timer = self.connection.timer()
        times = [] if timer is None else [round(timer * SECOND) + 1]
        times += [limit for limit in (self._limit(), self._silent()) if limit is not None]
        if self._lasts():
            times.append(self._said + KEEPALIVE)
        return min(times, default=None)

    def due(self, now: int) -> bool:
        """Do what is due; False where the connection is given up."""
        if any(limit is not None and now >= limit for limit in (self._limit(), self._silent())):
            return False
        if self._lasts() and now >= self._said + KEEPALIVE:
            self._said = now
            self.connection.ping()
        timer = self.connection.timer()
        if timer is not None and now >= round(timer * SECOND):
            self.connection.advance(now / SECOND)
        return True

    def _limit(self) -> int | None:
        """When a beginning has taken too long."""
        if not self.settled:
            return self._began + HANDSHAKE
        return None if self.dialled or self.answered else self._began + PROBATION

    def _silent(self) -> int | None:
        """When the other end has been silent for too long."""
        return None if self._unanswered is None or not self.settled else self._unanswered + SILENCE

    def _lasts(self) -> bool:
        """Whether this end keeps NATs on the way open: the dialler, while data moved lately."""
        return self.dialled and self.complete and self._said + KEEPALIVE <= self._moved + LIVELY
