"""The STUN server of a relay: tells nodes the address that their packets come from, at a bounded rate."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Sequence
from functools import partial

from ghostwire import BURST, Metrics, RelayContext, ServerContext, Service
from ghostwire.engine import Clock
from ghostwire.errors import GhostwireError
from ghostwire.wire import stun
from ghostwire_derp.settings import split_address
from ghostwire_derp.source_buckets import SourceBuckets

RATE, AT_ONCE = 100, 400
"""Requests a second of one source, and how many at once: many nodes share the address of a carrier's NAT."""

Control = tuple[int, int, bytes]
_IP_PKTINFO = 8
"""linux/in.h; the socket module knows IPv6's alone."""
_PACKET_INFO = {
    socket.AF_INET: (socket.IPPROTO_IP, _IP_PKTINFO, _IP_PKTINFO),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, socket.IPV6_PKTINFO),
}
"""By family: the level, the option that asks for the address a datagram was sent to, the message that carries it."""
_CONTROL_SPACE = socket.CMSG_SPACE(20)
_in_pktinfo = struct.Struct("=i4s4s")
_in6_pktinfo = struct.Struct("=16si")


class Responder:
    """Answers requests, and counts those it does not; no I/O."""

    def __init__(self, limits: SourceBuckets) -> None:
        self._limits = limits
        self.answered = self.limited = self.unsound = self.unsent = 0

    def answer(self, datagram: stun.Bytes, source: tuple[str, int], now: int) -> bytes | None:
        """What to send back to ``source`` at ``now`` (nanoseconds), if anything."""
        if not self._limits.take(source[0], now):
            self.limited += 1
            return None
        answer = stun.answer(datagram, source)
        if answer is None:
            self.unsound += 1
        else:
            self.answered += 1
        return answer

    def register(self, metrics: Metrics) -> None:
        """Register the counters."""
        metrics.counter("ghostwire_stun_answers_total", "STUN requests answered.", lambda: self.answered)
        for reason in ("limited", "unsound", "unsent"):
            name, help_ = f"ghostwire_stun_dropped_{reason}_total", f"STUN datagrams not answered: {reason}."
            metrics.counter(name, help_, partial(getattr, self, reason))


class StunPort:
    """One bound socket: read in bursts, answered from the address that was asked."""

    def __init__(self, bound: socket.socket, responder: Responder, clock: Clock) -> None:
        self._socket, self._responder, self._clock = bound, responder, clock
        self.number: int = bound.getsockname()[1]
        level, option, _ = _PACKET_INFO[bound.family]
        with contextlib.suppress(OSError):  # without it, the system's choice of the source address stands
            bound.setsockopt(level, option, 1)
        asyncio.get_running_loop().add_reader(bound, self._drain)

    def _drain(self) -> None:
        """Answer up to a burst of requests; what is left waits for the loop's next pass."""
        now = self._clock.now()
        for _ in range(BURST):
            try:
                datagram, control, _, source = self._socket.recvmsg(stun.MAX_MESSAGE + 1, _CONTROL_SPACE)
            except BlockingIOError:
                return
            except OSError:
                continue
            answer = self._responder.answer(datagram, source[:2], now)
            if answer is not None:
                self._send(answer, control, source)

    def _send(self, answer: bytes, control: Sequence[Control], source: tuple[str, int]) -> None:
        try:
            self._socket.sendmsg((answer,), reply_control(control), 0, source)
        except OSError:
            self._responder.unsent += 1

    def close(self) -> None:
        """Answer nothing more."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


class StunService(Service):
    """STUN on the address of the settings, announced to the mesh; on 0.0.0.0 for IPv6 too, where there is any."""

    name = "stun"

    def __init__(self, context: ServerContext | RelayContext) -> None:
        self._address: str = context.settings.stun
        self._relaying, self._sockets, self._clock = context.relaying, context.sockets, context.clock
        self._metrics, self._log = context.metrics, context.log
        self._ports: list[StunPort] = []

    async def start(self) -> None:
        """Serve; PlatformError or PermissionDenied where the port can't be had."""
        if not self._address or not self._relaying.first:
            return
        responder = Responder(SourceBuckets(rate=RATE, burst=AT_ONCE))
        host, port = split_address(self._address)
        self._open(host, port, responder)
        if host == "0.0.0.0":
            self._open_ipv6(responder)
        responder.register(self._metrics)
        self._relaying.announce(stun_port=self._ports[0].number)
        self._log.info("STUN on %s, UDP port %d", host, self._ports[0].number)

    def _open(self, host: str, port: int, responder: Responder) -> None:
        self._ports.append(StunPort(self._sockets.udp(host, port), responder, self._clock))

    def _open_ipv6(self, responder: Responder) -> None:
        try:
            self._open("::", self._ports[0].number, responder)
        except GhostwireError as error:
            self._log.warning("no STUN over IPv6: %s", error)

    async def close(self) -> None:
        """Stop."""
        for port in self._ports:
            port.close()
        self._ports = []


def reply_control(control: Sequence[Control]) -> list[Control]:
    """The control message that sends an answer from the address the request was sent to, whichever way it leaves."""
    for level, kind, data in control:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            _, local, _ = _in_pktinfo.unpack(data)
            return [(level, kind, _in_pktinfo.pack(0, local, bytes(4)))]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            local, _ = _in6_pktinfo.unpack(data)
            return [(level, kind, _in6_pktinfo.pack(local, 0))]
    return []
