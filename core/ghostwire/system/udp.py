"""UDP sockets for bursts: many datagrams in one system call where the kernel can (UDP_SEGMENT, UDP_GRO)."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ghostwire.capabilities.transport import BURST, Buffer

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

_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER = 10, 23
_PMTUDISC_DONT, _PMTUDISC_PROBE = 0, 3
_CANNOT_SEGMENT = frozenset({errno.EIO, errno.EINVAL, errno.EOPNOTSUPP})
_GONE = frozenset({errno.EBADF, errno.ENOTSOCK})
"""What a system answers that took the socket away."""
_CONTROL_SPACE = socket.CMSG_SPACE(4)
_TRUNCATED = int(socket.MSG_TRUNC)  # a plain number: the enum's operators would cost more than the read

Address = tuple[str, int] | tuple[str, int, int, int]


class UdpCounts:
    """What sockets did, as plain ints that the packet path adds to."""

    __slots__ = ("errors", "received", "received_bytes", "refused")

    def __init__(self) -> None:
        self.received = self.received_bytes = self.refused = self.errors = 0


def tune(target: socket.socket, *, fragments: bool) -> None:
    """Large buffers; and datagrams that routers may fragment, or that are lost where a link is too small for them."""
    for option, forced in ((socket.SO_SNDBUF, _SO_SNDBUFFORCE), (socket.SO_RCVBUF, _SO_RCVBUFFORCE)):
        try:
            target.setsockopt(socket.SOL_SOCKET, forced, SOCKET_BUFFER)
        except OSError:
            target.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
    six = target.family == socket.AF_INET6
    level, name = (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER) if six else (socket.IPPROTO_IP, _IP_MTU_DISCOVER)
    with contextlib.suppress(OSError):
        target.setsockopt(level, name, _PMTUDISC_DONT if fragments else _PMTUDISC_PROBE)


def _allows(target: socket.socket, option: int, value: int | None = None) -> bool:
    """Whether the kernel knows this UDP option; sets it where a value is given."""
    try:
        if value is not None:
            target.setsockopt(socket.IPPROTO_UDP, option, value)
        target.getsockopt(socket.IPPROTO_UDP, option)
    except OSError:
        return False
    return True


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


class UdpSender:
    """Sends bursts over one socket. ``segments``: whether the kernel cuts joined ones; ``lost`` is told, once, that the
    system took the socket away."""

    def __init__(self, out: socket.socket, counts: UdpCounts, lost: Callable[[str], object]) -> None:
        self._socket, self._counts, self._lost, self._told = out, counts, lost, False
        self.segments = _allows(out, UDP_SEGMENT)

    def send(self, address: Address, datagrams: Sequence[Buffer], sizes: Sequence[int]) -> int:
        """How many of these, whose sizes are 1 to `LARGEST_DATAGRAM`, the socket took for this address."""
        if not self.segments or len(sizes) == 1:
            return self._each(address, datagrams)
        sent = 0
        for start, end in equal_runs(sizes):
            if end - start > 1 and self._joined(address, datagrams[start:end], sizes[start]):
                sent += end - start
            else:
                sent += self._each(address, datagrams[start:end])
        return sent

    def _joined(self, address: Address, run: Sequence[Buffer], size: int) -> bool:
        """One system call for the run; False where it must be sent one by one (which then finds a full buffer too)."""
        try:
            self._socket.sendmsg(run, ((socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size)),), 0, address)
        except OSError as error:
            self.segments = self.segments and error.errno not in _CANNOT_SEGMENT
            return False
        return True

    def _each(self, address: Address, datagrams: Sequence[Buffer]) -> int:
        sent = 0
        for datagram in datagrams:
            try:
                self._socket.sendto(datagram, address)
                sent += 1
            except BlockingIOError:
                break
            except OSError as error:
                self._failed(error)
        return sent

    def _failed(self, error: OSError) -> None:
        self._counts.errors += 1
        if error.errno in _GONE and not self._told:
            self._told = True
            self._lost(f"the UDP socket is gone: {error.strerror}")


class UdpReader:
    """Reads one socket in bursts into one buffer and hands on what came from one source together.

    ``receive`` gets what ``known`` makes of the source's address, and at most `BURST` views of the buffer, good until
    it returns.
    """

    def __init__(
        self,
        source: socket.socket,
        known: Callable[[Any], Any],
        receive: Callable[[Any, list[memoryview]], object],
        counts: UdpCounts,
    ) -> None:
        self._socket, self._known, self._receive, self._counts = source, known, receive, counts
        self._buffer = memoryview(bytearray(3 * (JOINED_BYTES + 1)))
        _allows(source, UDP_GRO, 1)

    def drain(self) -> None:
        """Read up to `BURST` times or until nothing waits."""
        used, count = 0, 0
        last: Any = None
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
                self._counts.errors += 1
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
        if not 0 < segment <= LARGEST_DATAGRAM or flags & _TRUNCATED:
            self._counts.refused += 1
            return 1
        self._counts.received_bytes += size
        whole = self._buffer[start : start + size]
        pieces = [whole[at : at + segment] for at in range(0, size, segment)]
        batch += pieces
        return len(pieces)

    def _deliver(self, source: Any, batch: list[memoryview]) -> None:
        if not batch:
            return
        self._counts.received += len(batch)
        known = self._known(source)
        for start in range(0, len(batch), BURST):
            self._receive(known, batch[start : start + BURST])
