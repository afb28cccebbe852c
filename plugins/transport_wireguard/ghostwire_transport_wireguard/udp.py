"""The `udp` transport: one IPv4 and one IPv6 socket on one port number.

Sorting STUN, disco and WireGuard apart is the receiver's business.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Sequence

from ghostwire import Receive, Transport, TransportContext
from ghostwire.errors import PlatformError
from ghostwire.system.udp import Address
from ghostwire.wire.endpoint import format_endpoint, parse_endpoint
from ghostwire.wire.messages import MAX_ENDPOINTS
from ghostwire_transport_wireguard.udp_counters import UdpCounters
from ghostwire_transport_wireguard.udp_port import UdpPath, UdpPort

_NO_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


class UdpTransport(Transport):
    """Sealed datagrams over UDP, straight to the peer; ``context.settings.port`` 0 takes any free port."""

    name = "udp"

    def __init__(self, context: TransportContext) -> None:
        self._context = context
        self.counters = UdpCounters()
        self._ports = {family: UdpPort(self.counters, self._lost) for family in (socket.AF_INET, socket.AF_INET6)}
        self.counters.register(context.metrics)

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
                found.append(format_endpoint(text, port))
        return found[:MAX_ENDPOINTS]

    def path(self, endpoint: str) -> UdpPath:
        """The path to ``1.2.3.4:5`` or ``[2001:db8::1]:5``; ValueError where nothing could be reached there."""
        family, address = socket_address(endpoint)
        return self._ports[family].path(address)

    def _lost(self, reason: str) -> None:
        self._context.failed(reason)

    async def close(self) -> None:
        """Close both sockets."""
        for port in self._ports.values():
            port.close()


def socket_address(text: str) -> tuple[socket.AddressFamily, Address]:
    """Family and socket address of an endpoint's text; ValueError says what is wrong with it."""
    host, port = parse_endpoint(text)
    if host.is_unspecified or host.is_multicast or str(host) == "255.255.255.255":
        raise ValueError(f"not the address of one machine: {text!r}")
    if isinstance(host, ipaddress.IPv4Address):
        return socket.AF_INET, (str(host), port)
    if host.ipv4_mapped:
        raise ValueError(f"write an IPv4 address as such: {text!r}")
    return socket.AF_INET6, (socket.inet_ntop(socket.AF_INET6, host.packed), port, 0, 0)


def _refusal(number: int, code: int | None, error: Exception) -> str:
    if code == errno.EADDRINUSE:
        return f"UDP port {number} is in use: stop the other program or set port in [plugin.transport_wireguard]"
    return f"UDP port {number} cannot be opened: {error}"
