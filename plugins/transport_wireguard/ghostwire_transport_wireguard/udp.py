"""The `udp` transport: one IPv4 and one IPv6 socket, read and written in bursts with the kernel's segmentation.

A burst of equal datagrams leaves in one system call (UDP_SEGMENT) and arrives in one (UDP_GRO), where the kernel
can; elsewhere each datagram is its own call. Sorting STUN, disco and WireGuard apart is the receiver's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import ipaddress
import re
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from ghostwire import BURST, Buffer, NodeContext, Path, Receive, Transport
from ghostwire.errors import PlatformError
from ghostwire.wire.messages import MAX_ENDPOINTS

Address = tuple[str, int] | tuple[str, int, int, int]

UDP_SEGMENT = 103
"""Control message and option of linux/udp.h: u16, the size the kernel cuts one large send into."""
UDP_GRO = 104
"""Option and control message of linux/udp.h: int, the size of the datagrams the kernel joined in one read."""
SEGMENTS = 64
"""UDP_MAX_SEGMENTS of linux/udp.h on every kernel that has UDP_SEGMENT."""
JOINED_BYTES = 65_507
"""The largest UDP payload over IPv4, which bounds a joined send or read."""
LARGEST_DATAGRAM = 9_216
"""What no sealed packet of any sane link exceeds; larger ones are dropped and counted."""
SOCKET_BUFFER = 7 << 20
KNOWN_SOURCES = 4_096

_CONTROL_SPACE = socket.CMSG_SPACE(4)
_ENDPOINT = re.compile(r"(?:(\d[\d.]*)|\[([0-9A-Fa-f:.]+)\]):(\d{1,5})", re.ASCII)
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT = 10, 23, 0
_CANNOT_SEGMENT = frozenset({errno.EIO, errno.EINVAL, errno.EOPNOTSUPP})
_NO_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


class Counters:
    """What the sockets did, as plain ints."""

    __slots__ = ("dropped", "errors", "received", "received_bytes", "refused", "sent", "sent_bytes")

    def __init__(self) -> None:
        self.received = self.received_bytes = self.sent = self.sent_bytes = 0
        self.dropped = self.refused = self.errors = 0


class UdpPath(Path):
    """A remote UDP address; equal to every other path to the same family, address and port."""

    __slots__ = ("_hash", "_port", "address", "endpoint")
    transport = "udp"
    relayed = False

    def __init__(self, port: _Port, address: Address) -> None:
        self._port, self.address = port, address
        self._hash = hash(address)
        host = address[0]
        self.endpoint = f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        """Send now; False where the socket's buffer was full, the address unreachable or a size impossible."""
        return self._port.send(self.address, datagrams)

    def __eq__(self, other: object) -> bool:
        return self is other or (type(other) is UdpPath and self.address == other.address)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"UdpPath({self.endpoint})"


class UdpTransport(Transport):
    """Sealed datagrams over UDP, straight to the peer; ``context.settings.port`` 0 takes any free port."""

    name = "udp"

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self.counters = Counters()
        self._ports = {family: _Port(self.counters) for family in (socket.AF_INET, socket.AF_INET6)}
        _register(context, self.counters)

    async def start(self, receive: Receive) -> None:
        """Bind both families to one port number; a machine without IPv6 does with IPv4."""
        wanted: int = self._context.settings.port
        self._bind(socket.AF_INET, "0.0.0.0", wanted, receive)
        try:
            self._bind_second(self._ports[socket.AF_INET].number, wanted, receive)
        except BaseException:
            await self.close()
            raise

    def _bind_second(self, number: int, wanted: int, receive: Receive) -> None:
        try:
            self._bind(socket.AF_INET6, "::", number, receive)
        except PlatformError:
            if wanted:
                raise
            self._bind(socket.AF_INET6, "::", 0, receive)
        except OSError as error:
            self._context.log.info("no IPv6 here (%s): using IPv4 alone", error.strerror)

    def _bind(self, family: socket.AddressFamily, host: str, number: int, receive: Receive) -> None:
        try:
            self._ports[family].open(self._context.sockets.udp(host, number), receive)
        except (OSError, PlatformError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            code = cause.errno if isinstance(cause, OSError) else errno.EADDRINUSE
            if family == socket.AF_INET6 and code in _NO_FAMILY:
                raise OSError(code, str(cause)) from None
            raise PlatformError(_refusal(number, code, error)) from error

    def endpoints(self) -> Sequence[str]:
        """Local addresses with the port of their family, no more than a node may report."""
        found = []
        for text in self._context.local_addresses():
            version = ipaddress.ip_address(text).version
            port = self._ports[socket.AF_INET if version == 4 else socket.AF_INET6].number
            if port:
                found.append(f"{text}:{port}" if version == 4 else f"[{text}]:{port}")
        return found[:MAX_ENDPOINTS]

    def path(self, endpoint: str) -> UdpPath:
        """The path to ``1.2.3.4:5`` or ``[2001:db8::1]:5``; ValueError where nothing could be reached there."""
        family, address = parse_endpoint(endpoint)
        return self._ports[family].path(address)

    async def close(self) -> None:
        """Close both sockets."""
        for port in self._ports.values():
            port.close()


def parse_endpoint(text: str) -> tuple[socket.AddressFamily, Address]:
    """Family and socket address of an endpoint's text; ValueError says what is wrong with it."""
    match = _ENDPOINT.fullmatch(text)
    if not match:
        raise ValueError(f"not a UDP endpoint (1.2.3.4:5 or [2001:db8::1]:5 expected): {text[:80]!r}")
    host = ipaddress.IPv4Address(match[1]) if match[1] else ipaddress.IPv6Address(match[2])
    port = int(match[3])
    if not 0 < port < 65_536:
        raise ValueError(f"no such UDP port: {text!r}")
    if host.is_unspecified or host.is_multicast or str(host) == "255.255.255.255":
        raise ValueError(f"not the address of one machine: {text!r}")
    if isinstance(host, ipaddress.IPv4Address):
        return socket.AF_INET, (str(host), port)
    if host.ipv4_mapped:
        raise ValueError(f"write an IPv4 address as such: {text!r}")
    return socket.AF_INET6, (socket.inet_ntop(socket.AF_INET6, host.packed), port, 0, 0)


def equal_runs(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cut a burst into runs ``[start, end)`` that one UDP_SEGMENT send can carry.

    All datagrams of a run have the first one's size, but the last may be shorter.
    """
    start = 0
    while start < len(sizes):
        size = sizes[start]
        limit = min(start + SEGMENTS, start + JOINED_BYTES // size, len(sizes))
        end = start + 1
        while end < limit and sizes[end] == size:
            end += 1
        if end < limit and sizes[end] < size:
            end += 1
        yield start, end
        start = end


class _Port:
    """One family's socket; without one, sends are dropped."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._socket: socket.socket | None = None
        self._segments = False
        self._known = functools.lru_cache(maxsize=KNOWN_SOURCES)(functools.partial(UdpPath, self))
        self.number = 0

    def open(self, bound: socket.socket, receive: Receive) -> None:
        """Own this bound socket and deliver what it gets from now on."""
        self._socket, self.number = bound, bound.getsockname()[1]
        _tune(bound)
        self._segments = _allows(bound, UDP_SEGMENT)
        reader = _Reader(bound, self._known, receive, self._counters)
        asyncio.get_running_loop().add_reader(bound.fileno(), reader.drain)

    def path(self, address: Address) -> UdpPath:
        """The one path object for this address, as long as it is remembered."""
        return self._known(address)

    def send(self, address: Address, datagrams: Sequence[Buffer]) -> bool:
        """Send a burst to one address; False where any of it was dropped."""
        sizes = [len(datagram) for datagram in datagrams]
        if not sizes:
            return True
        if self._socket is None or min(sizes) == 0 or max(sizes) > LARGEST_DATAGRAM:
            self._counters.dropped += len(sizes)
            return False
        sent = self._send_runs(self._socket, address, datagrams, sizes)
        self._counters.sent += sent
        self._counters.sent_bytes += sum(sizes)
        self._counters.dropped += len(sizes) - sent
        return sent == len(sizes)

    def _send_runs(
        self, out: socket.socket, address: Address, datagrams: Sequence[Buffer], sizes: Sequence[int]
    ) -> int:
        if not self._segments or len(sizes) == 1:
            return self._send_each(out, address, datagrams)
        sent = 0
        for start, end in equal_runs(sizes):
            if end - start > 1 and self._send_joined(out, address, datagrams[start:end], sizes[start]):
                sent += end - start
            else:
                sent += self._send_each(out, address, datagrams[start:end])
        return sent

    def _send_joined(self, out: socket.socket, address: Address, run: Sequence[Buffer], size: int) -> bool:
        """One system call for the run; False where it must be sent one by one (which then finds a full buffer too)."""
        try:
            out.sendmsg(run, ((socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size)),), 0, address)
        except OSError as error:
            self._segments = self._segments and error.errno not in _CANNOT_SEGMENT
            return False
        return True

    def _send_each(self, out: socket.socket, address: Address, datagrams: Sequence[Buffer]) -> int:
        sent = 0
        for datagram in datagrams:
            try:
                out.sendto(datagram, address)
                sent += 1
            except BlockingIOError:
                break
            except OSError:
                self._counters.errors += 1
        return sent

    def close(self) -> None:
        if self._socket is None:
            return
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self._socket, self.number = None, 0
        self._known.cache_clear()


class _Reader:
    """Reads one socket in bursts into one buffer and hands on what came from one source together."""

    def __init__(self, source: socket.socket, known: Any, receive: Receive, counters: Counters) -> None:
        self._socket, self._known, self._receive, self._counters = source, known, receive, counters
        self._buffer = memoryview(bytearray(3 * (JOINED_BYTES + 1)))
        _allows(source, UDP_GRO, 1)

    def drain(self) -> None:
        """Read up to `BURST` times or until nothing waits."""
        used, count = 0, 0
        last: Address | None = None
        batch: list[memoryview] = []
        while count < BURST:
            if len(self._buffer) - used <= JOINED_BYTES:
                self._deliver(last, batch)
                used, batch = 0, []
            try:
                size, control, flags, address = self._socket.recvmsg_into([self._buffer[used:]], _CONTROL_SPACE)
            except BlockingIOError:
                break
            except OSError:
                self._counters.errors += 1
                count += 1
                continue
            if address != last:
                self._deliver(last, batch)
                last, batch = address, []
            count += self._cut(used, size, control, flags, batch)
            used += size
        self._deliver(last, batch)

    def _cut(self, start: int, size: int, control: Sequence[Any], flags: int, batch: list[memoryview]) -> int:
        """Add what one read brought (one datagram, or several that the kernel joined); how many, at least 1."""
        segment: int = struct.unpack_from("=i", control[0][2])[0] if control else size
        if not 0 < segment <= LARGEST_DATAGRAM or flags & socket.MSG_TRUNC:
            self._counters.refused += 1
            return 1
        end = start + size
        self._counters.received_bytes += size
        if segment == size:
            batch.append(self._buffer[start:end])
            return 1
        batch.extend([self._buffer[at : min(at + segment, end)] for at in range(start, end, segment)])
        return len(range(start, end, segment))

    def _deliver(self, source: Address | None, batch: list[memoryview]) -> None:
        if not batch:
            return
        self._counters.received += len(batch)
        path = self._known(source)
        for start in range(0, len(batch), BURST):
            self._receive(path, batch[start : start + BURST])


def _tune(target: socket.socket) -> None:
    """Large buffers, and datagrams that routers may fragment rather than lose."""
    for option, forced in ((socket.SO_SNDBUF, _SO_SNDBUFFORCE), (socket.SO_RCVBUF, _SO_RCVBUFFORCE)):
        try:
            target.setsockopt(socket.SOL_SOCKET, forced, SOCKET_BUFFER)
        except OSError:
            target.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
    level, name = (
        (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER)
        if target.family == socket.AF_INET6
        else (socket.IPPROTO_IP, _IP_MTU_DISCOVER)
    )
    with contextlib.suppress(OSError):
        target.setsockopt(level, name, _PMTUDISC_DONT)


def _allows(target: socket.socket, option: int, value: int | None = None) -> bool:
    """Whether the kernel knows this UDP option; sets it where a value is given."""
    try:
        if value is not None:
            target.setsockopt(socket.IPPROTO_UDP, option, value)
        target.getsockopt(socket.IPPROTO_UDP, option)
    except OSError:
        return False
    return True


def _refusal(number: int, code: int | None, error: Exception) -> str:
    if code == errno.EADDRINUSE:
        return f"UDP port {number} is in use: stop the other program or set port in [plugin.transport_wireguard]"
    return f"UDP port {number} cannot be opened: {error}"


def _register(context: NodeContext, counters: Counters) -> None:
    for field, help_ in (
        ("received", "Datagrams received."),
        ("received_bytes", "Bytes of datagrams received."),
        ("sent", "Datagrams sent."),
        ("sent_bytes", "Bytes of datagrams handed in for sending."),
        ("dropped", "Datagrams not sent: the socket was full or closed, the address unreachable, the size impossible."),
        ("refused", "Datagrams received empty, truncated or oversized."),
        ("errors", "Errors that reading or writing a socket gave."),
    ):
        context.metrics.counter(f"ghostwire_udp_{field}_total", help_, functools.partial(getattr, counters, field))
