"""All sessions and challenges of this server, bounded in all and by address."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from ghostwire.engine import SECOND
from ghostwire.errors import AuthenticationFailed
from ghostwire.frontdoor.admission import Admission
from ghostwire.frontdoor.buckets import Buckets
from ghostwire.wire import messages
from ghostwire.wire.api_errors import TooMany
from ghostwire_api_grpc.stream import GrpcStream

if TYPE_CHECKING:
    from ghostwire import ServerContext
    from ghostwire.capabilities.control import ServerChallenge
    from ghostwire.keys import MachineKey

TOKEN, TOKEN_BYTES, ID_BYTES = "gwsession-", 32, 16
LIFETIME = 30
"""Seconds that a challenge is good for."""
MAX_CHALLENGES, MAX_CHALLENGES_PER_ADDRESS = 4096, 64
HANDSHAKES = (256, 0.1)
"""Challenges for one address: so many at once, then one every so many seconds."""
GUESSES = (20, 3.0)
"""Wrong tokens and proofs of one address."""


class Open(NamedTuple):
    """A challenge that nobody has answered."""

    challenge: ServerChallenge
    client: str
    ends: int


class SessionTable:
    """Of a token only its BLAKE2s digest is kept: its first 8 bytes find the session, all of them, compared in constant
    time, open it."""

    def __init__(self, context: ServerContext) -> None:
        settings, clock, metrics = context.settings, context.clock, context.metrics
        self._context, self._clock = context, clock
        self._challenges: OrderedDict[bytes, Open] = OrderedDict()
        self._unanswered = Admission(MAX_CHALLENGES, MAX_CHALLENGES_PER_ADDRESS)
        self._admission = Admission(settings.max_sessions, settings.max_sessions_per_address)
        self._handshakes = Buckets(clock, burst=HANDSHAKES[0], interval=HANDSHAKES[1])
        self._guesses = Buckets(clock, burst=GUESSES[0], interval=GUESSES[1])
        self._by_token: dict[bytes, tuple[bytes, GrpcStream]] = {}
        self._tokens: dict[GrpcStream, bytes] = {}
        self._streams: set[GrpcStream] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._refused = 0
        metrics.gauge("grpc_sessions", "Nodes' sessions over gRPC", lambda: len(self._streams))
        metrics.counter("grpc_refused_total", "Calls with wrong proofs or tokens, or too many", lambda: self._refused)

    def challenge(self, client: str, key: bytes) -> tuple[bytes, ServerChallenge]:
        """A challenge for a client's fresh key, and its id; TooMany where the address has too many."""
        self._forget_old()
        if wait := self._handshakes.wait(client):
            raise self._too_many("too many challenges for your address; try again later", wait)
        self._handshakes.take(client)
        made = self._context.challenge(key)
        if not self._unanswered.enter(client, self._forget_oldest):
            raise self._too_many("too many challenges of your address are unanswered", LIFETIME)
        id_ = self._context.entropy(ID_BYTES)
        self._challenges[id_] = Open(made, client, self._clock.now() + LIFETIME * SECOND)
        return id_, made

    def answered(self, client: str, id_: bytes, key: MachineKey, proof: bytes) -> ServerChallenge:
        """The challenge of this id, which proves the machine key; AuthenticationFailed where it does not."""
        self._forget_old()
        found = self._challenges.pop(id_, None)
        if found is not None:
            self._unanswered.leave(found.client)
            if found.challenge.verify(key, proof):
                return found.challenge
        raise self._wrong(client, "the challenge is unknown or old, or the machine key's proof is wrong")

    def open(self, hello: Any, client: str, machine_key: MachineKey, challenge: ServerChallenge) -> GrpcStream:
        """A session that nobody was let into yet; TooMany where the address has too many."""
        if not self._admission.enter(client):
            raise self._too_many("too many sessions from your address; try again later", 5)

        def left() -> None:
            self._admission.leave(client)
            self._streams.discard(stream)
            self._by_token.pop(self._tokens.pop(stream, b""), None)
            if not self._streams:
                self._empty.set()

        stream = GrpcStream(hello, client, machine_key, challenge, left)
        self._streams.add(stream)
        self._empty.clear()
        return stream

    def token(self, stream: GrpcStream) -> str:
        """The session's token, shown once."""
        text = TOKEN + self._context.entropy(TOKEN_BYTES).hex()
        digest = _digest(text)
        self._by_token[digest[:8]], self._tokens[stream] = (digest, stream), digest[:8]
        return text

    def session(self, client: str, token: str) -> GrpcStream:
        """The session of a token; AuthenticationFailed where there is none."""
        given = _digest(token)
        held, stream = self._by_token.get(given[:8], (bytes(32), None))
        if stream is None or not hmac.compare_digest(held, given):
            raise self._wrong(client, "the session token is not known, or its session is over; begin with Challenge")
        return stream

    def hang_up(self) -> None:
        """End all sessions, which are told to come again."""
        goodbye = messages.encode(messages.Refused(code="busy", message="the server is shutting down", retry_after=1))
        for stream in list(self._streams):
            stream.send(goodbye)
            stream.close("the server is shutting down")
            if not stream.watched:
                stream.end()

    async def ended(self) -> None:
        """Until there is no session."""
        await self._empty.wait()

    def _wrong(self, client: str, message: str) -> Exception:
        """Right tokens are taken whatever others of the address guess; wrong ones are told so only now and then."""
        self._refused += 1
        if wait := self._guesses.wait(client):
            return TooMany("too many wrong proofs or tokens came from your address", wait)
        self._guesses.take(client)
        return AuthenticationFailed(message)

    def _too_many(self, message: str, wait: int) -> TooMany:
        self._refused += 1
        return TooMany(message, wait)

    def _forget_old(self) -> None:
        now = self._clock.now()
        while self._challenges and next(iter(self._challenges.values())).ends <= now:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, oldest = self._challenges.popitem(last=False)
        self._unanswered.leave(oldest.client)


def _digest(token: str) -> bytes:
    return hashlib.blake2s(token.encode()).digest()
