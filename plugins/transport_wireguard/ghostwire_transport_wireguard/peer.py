"""One peer's state machine: when to shake hands, with which keys to seal and open, when to stay silent.

device packet ─ the first after a rest ─> say so, before all else
              ├ no usable session ─> wait, initiate ─ response ─> begin, send what waited
              │                               └ cookie ──> initiate with it at once, by the way it came
              └ session ───────────> seal ─ 120 s old and ours ─> initiate as well
datagram ─ authentic ─> awaited session: put it to use, send what waited
                      ─> data: answer within 10 s
silence  ─ own data unanswered for 15 s ─> initiate, every 5 s for 90 s
         ─ 540 s without a new session ──> forget all keys; nothing is left to do
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from ghostwire import Activity, Buffer, Path, TunnelPeer
from ghostwire.engine import SECOND
from ghostwire.errors import RemoteProtocolError
from ghostwire_transport_wireguard.allowed_ips import AllowedIps
from ghostwire_transport_wireguard.handshake import Handshake
from ghostwire_transport_wireguard.keypair import OVERHEAD, Keypair
from ghostwire_transport_wireguard.local import Authenticated, Awake, Established, Local, Send, Wanted, only
from ghostwire_transport_wireguard.noise import Request
from ghostwire_transport_wireguard.sessions import Sessions
from ghostwire_transport_wireguard.sources import Sources
from ghostwire_transport_wireguard.timers import (
    ANSWER,
    INITIATION_GAP,
    KEEPALIVE,
    NEVER,
    REKEY_ATTEMPTS,
    REKEY_TIMEOUT,
    WIPE_AFTER,
    Timer,
)

WAITING: Final = 64
"""Packets that wait for a handshake; the oldest go first."""


class Peer:
    """All that is known of one peer; every method that may act takes ``now``."""

    def __init__(self, local: Local, spec: TunnelPeer) -> None:
        self._local, self.spec, self.id = local, spec, spec.id
        self.accepted: AllowedIps[Peer] | None = None
        """Prefixes that its packets may come from though others get what goes there; None where there are none."""
        self.paths: tuple[Path, ...] = ()
        self.heard_over: Path | None = None
        """Where anything authentic last came from; used for sending while no path is attached."""
        self._elsewhere, self._greeted = Sources(), Sources()
        """Where packets came from, and handshakes: each tells something else of a path, so neither hides the other."""
        self._resting = True
        self._data_sent = self._data_received = self._unanswered = self._heard_at = self._heard_directly = 0
        self._data_over: Path | None = None
        self.sessions = Sessions(local.sessions)
        self.handshake = Handshake(local, self)
        self.received_bytes = self.sent_bytes = 0
        self.last_handshake: int | None = None
        self._keepalive_interval = 0
        self._waiting: deque[bytes] = deque(maxlen=WAITING)
        self._patience = ANSWER
        self._initiation: Send | None = None
        self._attempts = 0
        self._last_sent, self._last_taken, self._last_shown = -REKEY_TIMEOUT, -INITIATION_GAP, -REKEY_TIMEOUT
        self._last_message: Send | None = None
        self._retransmit, self._keepalive = Timer(self._retransmit_initiation), Timer(self._send_keepalive)
        self._answer, self._wipe = Timer(self.initiate), Timer(self._forget_keys)
        self._persistent = Timer(self._send_persistent_keepalive)
        self._test = Timer(self._abandon_test)

    # Configuration

    def configure(self, spec: TunnelPeer, now: int) -> None:
        """Take other settings for the same key."""
        self.spec, self.accepted = spec, None
        if spec.accepts:
            self.accepted = AllowedIps()
            for prefix in spec.accepts:
                self.accepted.insert(prefix, self)
        before, self._keepalive_interval = self._keepalive_interval, spec.keepalive * SECOND
        if self._keepalive_interval and self._keepalive_interval != before:
            self._send_persistent_keepalive(now)
        elif not self._keepalive_interval:
            self._persistent.due = 0

    def attach(self, paths: Sequence[Path]) -> None:
        """Send over these paths from now on; an unanswered initiation is repeated over those that are new."""
        before, self.paths = self.paths, tuple(paths)
        sends, initiation = self._local.sends, self._initiation
        if initiation is not None and not any(send is initiation for send in sends):
            sends.extend(Send(only(path), initiation.datagrams) for path in self.paths if path not in before)

    def route(self) -> Sequence[Path]:
        """The paths to send over."""
        return self.paths or (() if self.heard_over is None else (self.heard_over,))

    def close(self) -> None:
        """Forget keys and timers; the peer is no more."""
        self._drop_waiting()
        self._abandon()
        self.handshake.abandon_test()
        self.sessions.wipe()
        for timer in (self._retransmit, self._keepalive, self._answer, self._wipe, self._persistent, self._test):
            timer.due = 0

    # Activity

    def activity(self) -> Activity:
        """When data last moved."""
        moments = (self._data_sent, self._data_received, self._unanswered, self._heard_at)
        return Activity(*moments, self._data_over, self._heard_directly)

    def rest(self) -> None:
        """Tell when data moves again, and wait for no answer to what was sent before."""
        self._resting = True
        self._unanswered = 0

    def _wake(self) -> None:
        self._resting = False
        self._local.events.append(Awake(self.id))

    # Packets

    def send(self, packets: Sequence[Buffer], now: int) -> None:
        """Seal a burst from the device, or let it wait for a session."""
        self._data_sent = now
        if not self._unanswered:
            self._unanswered = now
        if self._resting:
            self._wake()
        keypair = self.sessions.current
        if keypair is None or not keypair.usable(now):
            self._wait(packets)
            self.initiate(now)
            return
        self._transmit(keypair, packets, now)
        self._local.counters.sent_packets += len(packets)
        if not self._answer.due:
            self._local.timers.arm(self._answer, now + self._patience)
        if keypair.due(now):
            self.initiate(now)

    def _wait(self, packets: Sequence[Buffer]) -> None:
        self._local.counters.no_session += max(0, len(self._waiting) + len(packets) - WAITING)
        self._waiting.extend(map(bytes, packets))

    def _drop_waiting(self) -> None:
        self._local.counters.no_session += len(self._waiting)
        self._waiting.clear()

    def _transmit(self, keypair: Keypair, packets: Sequence[Buffer], now: int) -> None:
        datagrams = keypair.seal(packets, self._local.mtu)
        self.sent_bytes += sum(map(len, datagrams))
        self._local.sends.append(Send(self.route, datagrams))
        self._keepalive.due = 0
        self._restart_persistent(now)

    def _send_waiting(self, now: int) -> None:
        waiting = list(self._waiting)
        self._waiting.clear()
        self.send(waiting, now)

    def receive(self, keypair: Keypair, packets: Sequence[bytes], source: Path, now: int) -> None:
        """Take note of what was opened with one of this peer's keypairs."""
        data = sum(map(len, packets))
        self.received_bytes += data + OVERHEAD * len(packets)
        if data:
            self._data_received, self._data_over = now, source
            if self._resting:
                self._wake()
            if not self._keepalive.due:
                self._local.timers.arm(self._keepalive, now + KEEPALIVE)
        self._heard(source, now, self._elsewhere)
        if not source.relayed:
            self._heard_directly = now
        if self.sessions.confirm(keypair):
            self.handshake.abandon()
            self._completed(source, now)
            if self._waiting:
                self._send_waiting(now)
        if now >= keypair.late_renewal and keypair is self.sessions.current:
            keypair.late_renewal = NEVER
            self.initiate(now)

    def _heard(self, source: Path, now: int, told: Sources) -> None:
        """Something authentic came from there."""
        self._answer.due = 0
        self._restart_persistent(now)
        self.heard_over = source
        if source in self.paths:
            self._heard_at = now
            self._unanswered = 0
        elif told.due(source, now):
            self._local.events.append(Authenticated(self.id, source))

    # Handshakes

    def initiate(self, now: int) -> None:
        """Begin a handshake, unless one was begun or answered in the last 5 s."""
        self._attempts = 0
        if now - self._last_sent >= REKEY_TIMEOUT:
            self._send_initiation(now)

    def _send_initiation(self, now: int) -> None:
        local = self._local
        self._last_sent = now
        local.timers.arm(self._retransmit, now + REKEY_TIMEOUT + local.jitter())
        local.events.append(Wanted(self.id))
        try:
            self._initiation = Send(self.route, [self.handshake.begin(now)])
        except RemoteProtocolError:
            local.counters.bad_handshake += 1
            return
        self._send_message(self._initiation)
        local.counters.initiations += 1
        self._keepalive.due = 0
        self._restart_persistent(now)

    def test(self, path: Path, now: int) -> None:
        """Begin a handshake over this path alone, once, beside whatever is under way."""
        try:
            self._send_message(Send(only(path), [self.handshake.test(now)]))
        except RemoteProtocolError:
            self._local.counters.bad_handshake += 1
            return
        self._local.counters.initiations += 1
        self._local.timers.arm(self._test, now + REKEY_TIMEOUT)

    def _send_message(self, send: Send) -> None:
        self._last_message = send
        self._local.sends.append(send)
        self.sent_bytes += sum(map(len, send.datagrams))

    def _abandon(self) -> None:
        self.handshake.abandon()
        self._initiation = None

    def _abandon_test(self, now: int) -> None:
        self.handshake.abandon_test()

    def _retransmit_initiation(self, now: int) -> None:
        if self._attempts >= REKEY_ATTEMPTS:
            self._abandon()
            self._drop_waiting()
            self._keepalive.due = 0
            return
        self._attempts += 1
        self._send_initiation(now)

    def take_response(self, message: bytes, source: Path, now: int) -> None:
        """Complete the handshake this side began, and confirm it with what waited, else with a keepalive.

        RemoteProtocolError where the response is forged.
        """
        self.sessions.begin(self.handshake.finish(message, now))
        self.received_bytes += len(message)
        self._heard(source, now, self._greeted)
        self._completed(source, now)
        if self._waiting:
            self._send_waiting(now)
        else:
            self._send_keepalive(now)

    def take_request(self, request: Request, size: int, source: Path, now: int) -> None:
        """Answer an initiation of ``size`` bytes where it came from, and nowhere else.

        RemoteProtocolError where it is forged or replayed.
        """
        self.handshake.verify(request)
        if now - self._last_taken < INITIATION_GAP:
            self._local.counters.limited += 1
            return
        self._last_taken = self._last_sent = now
        keypair, response = self.handshake.answer(request, now)
        self.sessions.expect(keypair)
        self._local.timers.arm(self._wipe, now + WIPE_AFTER)
        self.received_bytes += size
        self._heard(source, now, self._greeted)
        self._send_message(Send(only(source), [response]))

    def take_cookie(self, reply: bytes, source: Path, now: int) -> None:
        """Keep a cookie for the next messages, and show it to who asked for it at once, but only where the message it
        was asked for went, and once in 5 s: who sees that message can make a cookie, too.

        RemoteProtocolError where it is forged or asked for by nothing.
        """
        message = self.handshake.stamper.accept(reply, now)
        if message is None:
            raise RemoteProtocolError("handshake: a cookie that answers nothing; drop the message")
        last = self._last_message
        if last is not None and source in last.paths() and now - self._last_shown >= REKEY_TIMEOUT:
            self._last_shown = now
            self._local.counters.shown += 1
            self._send_message(Send(only(source), [message]))

    def _completed(self, source: Path, now: int) -> None:
        """Both sides hold the same keys. A handshake begun since, if any, goes on."""
        if not self.handshake.pending:
            self._initiation = None
            self._retransmit.due = self._attempts = 0
        self._patience = ANSWER + self._local.jitter()
        self.last_handshake = now
        self._local.counters.handshakes += 1
        self._local.timers.arm(self._wipe, now + WIPE_AFTER)
        self._local.events.append(Established(self.id, source))

    # Silence

    def _send_keepalive(self, now: int) -> None:
        keypair = self.sessions.current
        if keypair is None or not keypair.usable(now):
            self.initiate(now)
            return
        self._transmit(keypair, (b"",), now)
        if keypair.due(now):
            self.initiate(now)

    def _restart_persistent(self, now: int) -> None:
        if self._keepalive_interval:
            self._local.timers.arm(self._persistent, now + self._keepalive_interval)

    def _send_persistent_keepalive(self, now: int) -> None:
        self._restart_persistent(now)
        self._send_keepalive(now)

    def _forget_keys(self, now: int) -> None:
        self._abandon()
        self.sessions.wipe()
        self._retransmit.due = self._answer.due = 0
