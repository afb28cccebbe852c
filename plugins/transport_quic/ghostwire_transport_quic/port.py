"""The UDP sockets of both families, one to a port number, read in bursts."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterable

from ghostwire import BURST, Sockets
from ghostwire.errors import PlatformError
from ghostwire_transport_quic.counters import Counters
from ghostwire_transport_quic.remote import Address

SOCKET_BUFFER = 4 << 20
LARGEST_DATAGRAM = 2_048
"""What is read of a datagram: ours are smaller."""
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE = 10, 23, 3
_NO_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})

Take = Callable[[list[tuple[bytes, Address]]], None]


class Port:
    """Both sockets; a machine without IPv6 does with IPv4."""

    def __init__(self, sockets: Sockets, counters: Counters) -> None:
        self._make, self._counters = sockets, counters
        self._sockets: dict[bool, socket.socket] = {}

    def open(self, number: int, take: Take) -> None:
        """Bind both families to this number (0: any) and read from now on; PlatformError where it is in use."""
        self._bind("0.0.0.0", number, take)
        try:
            self._bind("::", self.number(six=False), take)
        except OSError:
            return
        except PlatformError:
            if number:
                self.close()
                raise
            self._bind("::", 0, take)

    def number(self, *, six: bool) -> int:
        """The port of a family; 0 where there is none."""
        bound = self._sockets.get(six)
        return int(bound.getsockname()[1]) if bound is not None else 0

    def send(self, datagrams: Iterable[tuple[bytes, Address]]) -> None:
        """Send now what the sockets take."""
        for datagram, address in datagrams:
            out = self._sockets.get(":" in address[0])
            try:
                if out is None:
                    raise OSError(errno.EAFNOSUPPORT, "no such family")
                out.sendto(datagram, address)
            except OSError:
                self._counters.dropped_socket += 1

    def close(self) -> None:
        """Harmless when called twice."""
        for bound in self._sockets.values():
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().remove_reader(bound.fileno())
            bound.close()
        self._sockets.clear()

    def _bind(self, host: str, number: int, take: Take) -> None:
        """PlatformError, or OSError where the machine has no IPv6."""
        six = ":" in host
        try:
            bound = self._make.udp(host, number)
        except (OSError, PlatformError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            if six and isinstance(cause, OSError) and cause.errno in _NO_FAMILY:
                raise OSError(cause.errno, str(cause)) from None
            raise PlatformError(
                f"UDP port {number} cannot be opened ({error}): set another port in [plugin.transport_quic]"
            ) from error
        self._sockets[six] = bound
        _tune(bound)
        asyncio.get_running_loop().add_reader(bound.fileno(), self._drain, bound, take)

    def _drain(self, bound: socket.socket, take: Take) -> None:
        """Read up to `BURST` datagrams."""
        found: list[tuple[bytes, Address]] = []
        for _ in range(BURST):
            try:
                datagram, source = bound.recvfrom(LARGEST_DATAGRAM)
            except BlockingIOError:
                break
            except OSError:
                continue  # an ICMP error of an earlier send
            found.append((datagram, source[:2]))
        if found:
            take(found)


def _tune(bound: socket.socket) -> None:
    """Large buffers, and no fragments (RFC 9000 section 14): a path that is too narrow must show at once."""
    for option, forced in ((socket.SO_SNDBUF, _SO_SNDBUFFORCE), (socket.SO_RCVBUF, _SO_RCVBUFFORCE)):
        try:
            bound.setsockopt(socket.SOL_SOCKET, forced, SOCKET_BUFFER)
        except OSError:
            bound.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
    six = bound.family == socket.AF_INET6
    level, name = (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER) if six else (socket.IPPROTO_IP, _IP_MTU_DISCOVER)
    with contextlib.suppress(OSError):
        bound.setsockopt(level, name, _PMTUDISC_PROBE)
