"""The server's end of control sessions: streams that the front door hands over after an HTTP Upgrade."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ghostwire.capabilities.http import RequestHead, StreamUpgrade
from ghostwire.capabilities.telemetry import Metrics
from ghostwire.engine import Entropy
from ghostwire.errors import RemoteProtocolError
from ghostwire.frontdoor.admission import Admission
from ghostwire.frontdoor.answers import refuse, switching
from ghostwire.wire import messages
from ghostwire.wire.session import HANDSHAKE_HEADER, LENGTH_BYTES, ControlSession
from ghostwire.wire.stream import SessionStream

if TYPE_CHECKING:
    from ghostwire.keys import MachineKey, PrivateKey, PublicKey

SWEEP = 5.0
"""Seconds between two looks at whether a stream is idle; one timer serves all of them."""
LOOKS = 200
"""Streams looked at in one pass of the loop: ten thousand pings at once would hold up all else."""
BURST = 2000
"""Messages a node or relay may send at once before it is slowed down."""
RATE = 20.0
"""Messages a second that it may send for good."""
REPORT_COST = 20
"""Messages that a Report counts as: the server tells it to all who want the node."""
MAX_PENDING = 1024 * 1024
"""Bytes waiting for a slow reader above which `ControlStream.send` refuses more."""

_HELLOS = (messages.Hello, messages.RelayHello)
Ready = Callable[["ControlStream"], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What strangers may use. A stream is unfinished until its hello is there, at most ``handshake`` seconds.

    Behind a proxy all clients share the proxy's address: raise ``per_address`` and ``unfinished_per_address``.
    """

    total: int = 100_000
    per_address: int = 1000
    unfinished: int = 1024
    unfinished_per_address: int = 64
    handshake: float = 10.0


@dataclass(slots=True)
class Counters:
    """What went wrong since the start."""

    refused: int = 0
    timed_out: int = 0
    violations: int = 0


class ControlUpgrade(StreamUpgrade):
    """Makes a `ControlStream` of each upgraded connection, and hands it on once its hello has arrived."""

    token = messages.UPGRADE

    def __init__(
        self, control_key: PrivateKey, entropy: Entropy, on_stream: Ready, *, limits: Limits | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.counters = Counters()
        self.streams: set[ControlStream] = set()
        self._control_key, self._entropy = control_key, entropy
        self.on_stream = on_stream
        self.admission = Admission(self.limits.total, self.limits.per_address)
        self.unfinished = Admission(self.limits.unfinished, self.limits.unfinished_per_address)
        self._sweeping: asyncio.TimerHandle | None = None
        self._unseen: list[ControlStream] = []

    def take(self, head: RequestHead, transport: asyncio.Transport, rest: bytes) -> None:
        """Answer 101 and wait for message 1, or 503 where the address has too many streams."""
        if not self._enter(head.client):
            self.counters.refused += 1
            text = "too many control sessions from your address; try again later"
            return refuse(transport, HTTPStatus.SERVICE_UNAVAILABLE, "busy", text, retry_after=5)
        session = ControlSession.responder(self._control_key, self._entropy)
        stream = ControlStream(self, session, transport, head.client)
        self.streams.add(stream)
        self._arm()
        transport.set_protocol(stream)
        return stream.data_received(_first_message(head) + rest)

    def register(self, metrics: Metrics) -> None:
        """Make the counters known."""
        counters = self.counters
        metrics.gauge("server_control_streams", "Control streams open", lambda: len(self.streams))
        metrics.counter("server_control_refused_total", "Too many from one address", lambda: counters.refused)
        metrics.counter("server_control_timed_out_total", "Said no hello in time", lambda: counters.timed_out)
        metrics.counter("server_control_violations_total", "Broke the protocol", lambda: counters.violations)

    def close(self) -> None:
        """Close every stream; harmless when called twice."""
        for stream in list(self.streams):
            stream.close()

    def _enter(self, client: str) -> bool:
        if not self.admission.enter(client):
            return False
        if self.unfinished.enter(client):
            return True
        self.admission.leave(client)
        return False

    def _arm(self) -> None:
        if self._sweeping is None and self.streams:
            delay = SWEEP / (1 + len(self.streams) // LOOKS)
            self._sweeping = asyncio.get_running_loop().call_later(delay, self._sweep)

    def _sweep(self) -> None:
        """Look at the next few; at all, anew, once all were looked at."""
        self._sweeping = None
        now = asyncio.get_running_loop().time()
        self._unseen = self._unseen or list(self.streams)
        for _ in range(min(LOOKS, len(self._unseen))):
            self._unseen.pop().sweep(now)
        self._arm()


def _first_message(head: RequestHead) -> bytes:
    """Message 1, where it came with the request; one that is no base64 is left to fail as a message."""
    try:
        return b64decode(head.headers.get(HANDSHAKE_HEADER, ""), validate=True)
    except ValueError:
        return bytes(LENGTH_BYTES)


class ControlStream(SessionStream):
    """One node's or relay's stream. ``hello`` is its first message; ``client`` its address as text."""

    __slots__ = (
        "_deadline",
        "_even",
        "_held",
        "_on_closed",
        "_on_drained",
        "_on_message",
        "_releasing",
        "_upgrade",
        "client",
        "hello",
    )
    hello: messages.Hello | messages.RelayHello

    def __init__(
        self, upgrade: ControlUpgrade, session: ControlSession, transport: asyncio.Transport, client: str
    ) -> None:
        super().__init__(session, transport, switching(upgrade.token))
        self._upgrade, self.client = upgrade, client
        self._on_message: Callable[[Any], None] | None = None
        self._on_closed: Callable[[], None] | None = None
        self._on_drained: Callable[[], None] | None = None
        self._held: deque[bytes] | None = None
        self._releasing: asyncio.TimerHandle | None = None
        self._even = self._loop.time()
        self._deadline: asyncio.TimerHandle | None = self._loop.call_later(upgrade.limits.handshake, self._too_slow)

    @property
    def machine_key(self) -> MachineKey:
        """The machine's identity, proven by the handshake."""
        assert self._session.remote is not None
        return self._session.remote

    @property
    def closed(self) -> bool:
        """Whether the stream has ended or is about to."""
        return self._closing

    def verify(self, key: PublicKey, proof: bytes) -> bool:
        """Whether the other side holds this key's private half; asked once, False ever after."""
        return self._session.verify(key, proof)

    def on_message(self, callback: Callable[[Any], None]) -> None:
        """Where decoded messages after hello go; until this is called nothing more is read.

        Pings are answered here and never shown. A callback may raise RemoteProtocolError: the node is told and cut.
        """
        self._on_message = callback
        if self._held is not None:
            self._release_in(0)

    def on_closed(self, callback: Callable[[], None]) -> None:
        """Called once when the stream is over, whoever ended it; ``reason`` says why."""
        if self not in self._upgrade.streams:
            self._loop.call_soon(callback)
        else:
            self._on_closed = callback

    def on_drained(self, callback: Callable[[], None]) -> None:
        """Called whenever `pending` has been above `HIGH_WATER` and fell again."""
        self._on_drained = callback

    def send(self, frame: bytes) -> bool:
        """Send an encoded message; False where it was dropped: the stream is over, or its reader is too slow."""
        return self._queue(frame, MAX_PENDING)

    def close(self, reason: str = "closed by the server") -> None:
        """Send what was accepted, then close; harmless when called twice."""
        self._end(reason)

    def sweep(self, now: float) -> None:
        """The upgrade's periodic look; ``now`` is the loop's time."""
        if self._deadline is None and not self._closing:
            self._keep_alive(now)

    def _too_slow(self) -> None:
        self._upgrade.counters.timed_out += 1
        self._end("no hello in time")

    def _take(self, frame: bytes) -> None:
        if self._deadline is not None:
            self._begin(messages.decode_to_server(frame))
        elif self._held is not None:
            self._held.append(frame)
        elif self._on_message is None or self._debt() > 0:
            self._hold(frame)
        else:
            self._act(self._on_message, messages.decode_to_server(frame))

    def _act(self, deliver: Callable[[Any], None], message: Any) -> None:
        """``_even`` is when the rate will have made up for all that was sent."""
        cost = REPORT_COST if isinstance(message, messages.Report) else 1
        self._even = max(self._even, self._loop.time()) + cost / RATE
        if isinstance(message, messages.Ping):
            self.send(messages.encode(messages.Pong(number=message.number)))
        elif isinstance(message, _HELLOS):
            raise RemoteProtocolError("a second hello in one session")
        elif not isinstance(message, messages.Pong):
            deliver(message)

    def _debt(self) -> float:
        """Seconds until the next message is due, not above 0 for at once."""
        return self._even - self._loop.time() - BURST / RATE

    def _begin(self, message: Any) -> None:
        if not isinstance(message, _HELLOS):
            raise RemoteProtocolError("the first message is not a hello")
        self.hello = message
        self._finish()
        self._upgrade.on_stream(self)

    def _finish(self) -> None:
        """Give up the place among the unfinished."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            self._upgrade.unfinished.leave(self.client)

    def _hold(self, frame: bytes) -> None:
        """Read no more until what came already has had its turn: one read's worth of frames at most."""
        self._held = deque([frame])
        self._transport.pause_reading()
        if self._on_message is not None:
            self._release_in(self._debt())

    def _release_in(self, seconds: float) -> None:
        if self._releasing is None:
            self._releasing = self._loop.call_later(seconds, self._release)

    def _release(self) -> None:
        self._releasing = None
        self._heard = self._loop.time()
        try:
            while self._held and self._on_message is not None and not self._closing and self._debt() <= 0:
                self._act(self._on_message, messages.decode_to_server(self._held.popleft()))
        except RemoteProtocolError as error:
            self._violated(str(error))
        if self._closing:
            return
        if self._held:
            self._release_in(max(self._debt(), 1.0))
        else:
            self._held = None
            self._transport.resume_reading()

    def _violated(self, reason: str) -> None:
        self._upgrade.counters.violations += 1
        if self._session.established:
            self.send(messages.encode(messages.Refused(code="protocol", message=reason)))
        self._end(reason)

    def _drained(self) -> None:
        if self._on_drained is not None:
            self._on_drained()

    def _over(self) -> None:
        self._finish()
        self._upgrade.streams.discard(self)
        self._upgrade.admission.leave(self.client)
        if self._releasing is not None:
            self._releasing.cancel()
        callback, self._on_closed, self._on_message, self._on_drained = self._on_closed, None, None, None
        if callback is not None:
            callback()
