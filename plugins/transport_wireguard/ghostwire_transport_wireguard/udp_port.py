"""One UDP socket of the `udp` transport, and its paths."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import struct
from collections.abc import Callable, Sequence

from ghostwire import Buffer, Path, Receive
from ghostwire.system.udp import LARGEST_DATAGRAM, Address, UdpReader, UdpSender, tune
from ghostwire.wire.endpoint import format_endpoint
from ghostwire_transport_wireguard.udp_counters import UdpCounters

KNOWN_SOURCES = 4_096


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


class UdpPort:
    """One family's socket; without one, sends are dropped. ``lost`` is told, once, that the system took it away."""

    def __init__(self, counters: UdpCounters, lost: Callable[[str], object] = lambda reason: None) -> None:
        self._counters, self._lost = counters, lost
        self._socket: socket.socket | None = None
        self._sender: UdpSender | None = None
        self._known = functools.lru_cache(maxsize=KNOWN_SOURCES)(functools.partial(UdpPath, self))
        self.number = 0

    def open(self, bound: socket.socket, receive: Receive) -> None:
        """Own this bound socket and deliver what it gets from now on."""
        self._socket, self.number = bound, bound.getsockname()[1]
        tune(bound, fragments=True)
        self._sender = UdpSender(bound, self._counters, self._lost)
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
        sent = 0 if self._sender is None else self._sender.send(address, datagrams, sizes)
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

    def close(self) -> None:
        """Deliver nothing more; harmless when called twice."""
        if self._socket is None:
            return
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self._socket, self._sender, self.number = None, None, 0
        self._known.cache_clear()
