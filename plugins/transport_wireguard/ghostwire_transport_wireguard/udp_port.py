"""One UDP socket: a burst of equal datagrams leaves in one system call (UDP_SEGMENT) where the kernel can."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import socket
import struct
from collections.abc import Callable, Iterator, Sequence

from ghostwire import Buffer, Path, Receive
from ghostwire.wire.endpoint import format_endpoint
from ghostwire_transport_wireguard.udp_counters import UdpCounters
from ghostwire_transport_wireguard.udp_options import (
    JOINED_BYTES,
    LARGEST_DATAGRAM,
    SEGMENTS,
    UDP_SEGMENT,
    allows,
    tune,
)
from ghostwire_transport_wireguard.udp_reader import UdpReader

Address = tuple[str, int] | tuple[str, int, int, int]

KNOWN_SOURCES = 4_096

_CANNOT_SEGMENT = frozenset({errno.EIO, errno.EINVAL, errno.EOPNOTSUPP})
_GONE = frozenset({errno.EBADF, errno.ENOTSOCK})
"""What a system answers that took the socket away."""


class UdpPath(Path):
    """A remote UDP address; equal to every other path to the same family, address and port."""

    __slots__ = ("_hash", "_port", "address", "endpoint")
    transport = "udp"
    relayed = False

    def __init__(self, port: UdpPort, address: Address) -> None:
        self._port, self.address = port, address
        self._hash = hash(address)
        self.endpoint = format_endpoint(address[0], address[1])

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        """Send now; False where the socket's buffer was full, the address unreachable or a size impossible."""
        return self._port.send(self.address, datagrams)

    def knock(self, datagram: Buffer, ttl: int) -> bool:
        """Send with this time to live; False over IPv6, where routers translate nothing and take no ping for one."""
        return self._port.knock(self.address, datagram, ttl)

    def __eq__(self, other: object) -> bool:
        return self is other or (type(other) is UdpPath and self.address == other.address)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"UdpPath({self.endpoint})"


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


class UdpPort:
    """One family's socket; without one, sends are dropped. ``lost`` is told, once, that the system took it away."""

    def __init__(self, counters: UdpCounters, lost: Callable[[str], object] = lambda reason: None) -> None:
        self._counters, self._lost, self._told = counters, lost, False
        self._socket: socket.socket | None = None
        self._segments = False
        self._known = functools.lru_cache(maxsize=KNOWN_SOURCES)(functools.partial(UdpPath, self))
        self.number = 0

    def open(self, bound: socket.socket, receive: Receive) -> None:
        """Own this bound socket and deliver what it gets from now on."""
        self._socket, self.number, self._told = bound, bound.getsockname()[1], False
        tune(bound)
        self._segments = allows(bound, UDP_SEGMENT)
        reader = UdpReader(bound, self._known, receive, self._counters)
        asyncio.get_running_loop().add_reader(bound.fileno(), reader.drain)

    def path(self, address: Address) -> UdpPath:
        """The one path object for this address, as long as it is remembered."""
        return self._known(address)

    def send(self, address: Address, datagrams: Sequence[Buffer]) -> bool:
        """Send a burst to one address; False where any of it was dropped."""
        sizes = list(map(len, datagrams))
        if not sizes:
            return True
        if min(sizes) == 0 or max(sizes) > LARGEST_DATAGRAM:
            possible = [datagram for datagram in datagrams if 0 < len(datagram) <= LARGEST_DATAGRAM]
            self._counters.dropped += len(sizes) - len(possible)
            self.send(address, possible)
            return False
        sent = 0 if self._socket is None else self._send_runs(self._socket, address, datagrams, sizes)
        self._counters.sent += sent
        self._counters.sent_bytes += sum(sizes)
        self._counters.dropped += len(sizes) - sent
        return sent == len(sizes)

    def knock(self, address: Address, datagram: Buffer, ttl: int) -> bool:
        """Send one datagram that gets no further than this; False where the socket cannot."""
        if self._socket is None or self._socket.family != socket.AF_INET:
            return False
        try:
            self._socket.sendmsg([datagram], ((socket.IPPROTO_IP, socket.IP_TTL, struct.pack("=i", ttl)),), 0, address)
        except OSError:
            self._counters.errors += 1
            return False
        self._counters.sent += 1
        self._counters.sent_bytes += len(datagram)
        return True

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
            except OSError as error:
                self._failed(error)
        return sent

    def _failed(self, error: OSError) -> None:
        self._counters.errors += 1
        if error.errno in _GONE and not self._told:
            self._told = True
            self._lost(f"the UDP socket is gone: {error.strerror}")

    def close(self) -> None:
        """Deliver nothing more; harmless when called twice."""
        if self._socket is None:
            return
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self._socket, self.number = None, 0
        self._known.cache_clear()
