"""Handshake messages wait here, so that a flood of them can't take the processor from established sessions.

At most `QUEUE` wait; each loop pass computes on at most `COMPUTED` of them. From `CROWDED` waiting on, and for a
second after, a sender must first show with a cookie that it is where it says, and each source has a rate. A few
responses to each initiation of this node need no cookie: who sends them has seen it.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Mapping
from typing import Final

from ghostwire import Buffer, Path
from ghostwire.engine import SECOND
from ghostwire.errors import RemoteProtocolError
from ghostwire_transport_wireguard.cookie import COOKIE_REPLY_BYTES, MacChecker, RateLimiter
from ghostwire_transport_wireguard.handshake import RESPONSE_RECEIVER
from ghostwire_transport_wireguard.local import Local, Send, only
from ghostwire_transport_wireguard.noise import (
    COOKIE_REPLY,
    INITIATION,
    INITIATION_BYTES,
    RESPONSE,
    RESPONSE_BYTES,
    read_initiation,
)
from ghostwire_transport_wireguard.peer import Peer

QUEUE: Final = 64
COMPUTED: Final = 4
"""Messages a pass computes a key exchange or a cookie for."""
EXAMINED: Final = 16
"""Messages a pass looks at; those without a valid mac1 cost 1 µs."""
CROWDED: Final = 8
LOADED_FOR: Final = SECOND

SIZES: Final = {INITIATION: INITIATION_BYTES, RESPONSE: RESPONSE_BYTES, COOKIE_REPLY: COOKIE_REPLY_BYTES}
_KIND: Final = struct.Struct("<I").unpack_from
_COOKIE_RECEIVER: Final = struct.Struct("<4xI").unpack_from


class HandshakeQueue:
    """The queue, and what each message leads to; ``peers`` finds them by public key."""

    def __init__(self, local: Local, peers: Mapping[bytes, Peer]) -> None:
        self._local, self._peers = local, peers
        self._checker = MacChecker(local.private_key.public_raw, local.entropy)
        self._limiter = RateLimiter()
        self._queue: deque[tuple[Path, bytes]] = deque()
        self._loaded_until = 0

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, source: Path, datagram: Buffer, now: int) -> None:
        """Queue a datagram that is not transport data; malformed ones and those above the bound are counted."""
        if SIZES.get(_KIND(datagram)[0]) != len(datagram):
            self._local.counters.malformed += 1
        elif len(self._queue) >= QUEUE:
            self._local.counters.queue_full += 1
        else:
            self._queue.append((source, bytes(datagram)))
            if len(self._queue) >= CROWDED:
                self._loaded_until = now + LOADED_FOR

    def work(self, now: int) -> None:
        """One pass."""
        left = COMPUTED
        for _ in range(min(EXAMINED, len(self._queue))):
            if not left:
                return
            left -= self._handle(*self._queue.popleft(), now)

    def _handle(self, source: Path, message: bytes, now: int) -> bool:
        """Whether the message cost a computation."""
        (kind,) = _KIND(message)
        if kind == COOKIE_REPLY:
            return self._take_cookie(source, message, now)
        if not self._checker.mac1_valid(message):
            self._local.counters.bad_mac += 1
            return False
        if kind == RESPONSE and RESPONSE_RECEIVER(message)[0] not in self._local.pending:
            self._local.counters.unknown_session += 1
            return False
        if now < self._loaded_until and not self._excused(kind, message):
            if not self._checker.mac2_valid(message, _place(source), now):
                return self._ask_for_cookie(source, message, now)
            if not self._limiter.allow(_host(source), now):
                self._local.counters.limited += 1
                return False
        self._compute(kind, source, message, now)
        return True

    def _excused(self, kind: int, message: bytes) -> bool:
        """Whether it is computed under load, too: a response that this node asked for, as far as those go."""
        return kind == RESPONSE and self._local.pending[RESPONSE_RECEIVER(message)[0]].handshake.excuse()

    def _take_cookie(self, source: Path, message: bytes, now: int) -> bool:
        (index,) = _COOKIE_RECEIVER(message)
        peer = self._local.pending.get(index)
        if peer is None and index in self._local.sessions:
            peer = self._local.sessions[index].peer
        if peer is None:
            self._local.counters.unknown_session += 1
            return False
        try:
            peer.take_cookie(message, source, now)
        except RemoteProtocolError:
            self._local.counters.bad_handshake += 1
        return True

    def _ask_for_cookie(self, source: Path, message: bytes, now: int) -> bool:
        self._local.counters.cookies += 1
        self._local.sends.append(Send(only(source), [self._checker.reply(message, _place(source), now)]))
        return True

    def _compute(self, kind: int, source: Path, message: bytes, now: int) -> None:
        self._local.counters.computed += 1
        try:
            if kind == INITIATION:
                self._take_initiation(source, message, now)
            else:
                self._local.pending[RESPONSE_RECEIVER(message)[0]].take_response(message, source, now)
        except RemoteProtocolError:
            self._local.counters.bad_handshake += 1

    def _take_initiation(self, source: Path, message: bytes, now: int) -> None:
        request = read_initiation(self._local.private_key, message)
        peer = self._peers.get(request.initiator)
        if peer is None:
            raise RemoteProtocolError("handshake: a key of no peer; drop the message")
        peer.take_request(request, len(message), source, now)


def _place(source: Path) -> bytes:
    """What a cookie is bound to: transport, address and port."""
    return f"{source.transport} {source.endpoint}".encode()


def _host(source: Path) -> str:
    """What has a rate: transport and address; over a relay, whose sources are peers, each of them."""
    host, colon, _ = source.endpoint.rpartition(":")
    return f"{source.transport} {host if colon and not source.relayed else source.endpoint}"
