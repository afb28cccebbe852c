"""The UDP sockets of both families, one to a port number."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterable
from itertools import groupby
from operator import itemgetter

from ghostwire import Sockets
from ghostwire.errors import PlatformError
from ghostwire.system.udp import UdpReader, UdpSender, tune
from ghostwire_transport_quic.counters import Counters
from ghostwire_transport_quic.remote import Address

_NO_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})

Take = Callable[[Address, list[memoryview]], object]


class Port:
    """Both sockets; a machine without IPv6 does with IPv4. ``lost`` is told that the system took one away."""

    def __init__(self, sockets: Sockets, counters: Counters, lost: Callable[[str], object]) -> None:
        self._make, self._counters, self._lost = sockets, counters, lost
        self._sockets: dict[bool, socket.socket] = {}
        self._senders: dict[bool, UdpSender] = {}

    def open(self, number: int, take: Take) -> None:
        """Bind both families to this number (0: any) and read from now on; PlatformError where it is in use.

        ``take`` gets a source and what came from it at once, at most `BURST` datagrams, good until it returns.
        """
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
        """Send now what the sockets take, what goes to one address together."""
        for address, run in groupby(datagrams, itemgetter(1)):
            burst = [datagram for datagram, _ in run]
            sender = self._senders.get(":" in address[0])
            sent = 0 if sender is None else sender.send(address, burst, [len(datagram) for datagram in burst])
            self._counters.dropped_socket += len(burst) - sent

    def close(self) -> None:
        """Harmless when called twice."""
        for bound in self._sockets.values():
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().remove_reader(bound.fileno())
            bound.close()
        self._sockets.clear()
        self._senders.clear()

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
        tune(bound, fragments=False)  # RFC 9000 section 14: a path that is too narrow must show at once
        self._sockets[six] = bound
        self._senders[six] = UdpSender(bound, self._counters.udp, self._lost)
        reader = UdpReader(bound, itemgetter(slice(2)), take, self._counters.udp)
        asyncio.get_running_loop().add_reader(bound.fileno(), reader.drain)
