"""UDP ports for talking to the router: each conversation has one of its own, so that late answers find nobody."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from ghostwire import Sockets
from ghostwire.errors import Unavailable
from ghostwire.node.portmap.asking import CONTROL_PORT, Address

Receive = Callable[[Address, bytes], None]
"""Takes a datagram's source and content."""

LONGEST = 2048
"""Bytes of a datagram that are read; a PCP answer has at most 1100."""
AT_ONCE = 32
"""Datagrams read before others get their turn."""


class Port(Protocol):
    """An open UDP port."""

    def send(self, target: Address, data: bytes) -> None:
        """Send one datagram, or lose it."""

    def close(self) -> None:
        """Receive no more; harmless when called twice."""


class Ports(Protocol):
    """Opens them."""

    def local(self, gateway: str) -> str:
        """This machine's address towards the router; Unavailable where none leads there."""

    def open(self, number: int, receive: Receive, *, local: str = "") -> Port:
        """A port of that number, 0 for any; multicast leaves by ``local``. PlatformError where it cannot be had."""


class SystemPorts:
    """The machine's own."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets

    def local(self, gateway: str) -> str:
        """Asks the kernel; nothing is sent."""
        with self._sockets.udp("0.0.0.0", 0) as probe:
            try:
                probe.connect((gateway, CONTROL_PORT))
            except OSError as error:
                raise Unavailable(f"the router {gateway} cannot be reached: {error.strerror}") from None
            return str(probe.getsockname()[0])

    def open(self, number: int, receive: Receive, *, local: str = "") -> Port:
        """A real socket, read from the running loop."""
        made = self._sockets.udp("0.0.0.0", number)
        if local:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(local))
        return SystemPort(made, receive)


class SystemPort:
    """A real UDP port."""

    def __init__(self, bound: socket.socket, receive: Receive) -> None:
        self._socket, self._receive = bound, receive
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(bound.fileno(), self._read)

    def send(self, target: Address, data: bytes) -> None:
        """Send; what the system does not take is lost, as it might be on the way."""
        with suppress(OSError):
            self._socket.sendto(data, target)

    def close(self) -> None:
        """Close the socket."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _read(self) -> None:
        for _ in range(AT_ONCE):
            try:
                data, source = self._socket.recvfrom(LONGEST)
            except OSError:
                return
            self._receive((source[0], source[1]), data)
            if self._socket.fileno() < 0:
                return
