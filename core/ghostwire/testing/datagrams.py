"""Datagram ports of simulated hosts, and the transport ``memory`` over them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ghostwire.capabilities.transport import BURST, Buffer, Path, Receive, Transport
from ghostwire.errors import LocalProtocolError, PlatformError
from ghostwire.testing.nat import Address
from ghostwire.testing.routing import TTL
from ghostwire.wire.endpoint import format_endpoint, parse_endpoint

if TYPE_CHECKING:
    from ghostwire.testing.network import Host

QUEUE = 1024
"""The most datagrams that wait to be received; more are dropped."""


class Port:
    """An open datagram port of a host."""

    def __init__(self, host: Host, number: int, receive: Callable[[Address, list[bytes]], None]) -> None:
        self.host, self.number = host, number
        self.dropped = 0
        """Datagrams that found the receive queue full."""
        self._receive = receive
        self._waiting: deque[tuple[Address, bytes]] = deque()

    def send(self, target: Address, payloads: Sequence[Buffer], ttl: int = TTL) -> bool:
        """Send a burst; False where any of it was dropped before it left."""
        if self.host.ports.get(self.number) is not self:
            return False
        return self.host.network.carry(self, target, [bytes(payload) for payload in payloads], ttl)

    def deliver(self, source: Address, payload: bytes) -> bool:
        """Queue what arrived; the burst goes out in the loop's next pass."""
        if len(self._waiting) >= QUEUE:
            self.dropped += 1
            return False
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append((source, payload))
        return True

    def close(self) -> None:
        """Receive no more."""
        if self.host.ports.get(self.number) is self:
            del self.host.ports[self.number]
        self._waiting.clear()

    def _flush(self) -> None:
        """Hand over the longest burst from one source, and come back for the rest."""
        burst: list[bytes] = []
        source = self._waiting[0][0] if self._waiting else ("", 0)
        while self._waiting and self._waiting[0][0] == source and len(burst) < BURST:
            burst.append(self._waiting.popleft()[1])
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        if burst:
            self._receive(source, burst)


class MemoryPath(Path):
    """The way to one ``host:port`` of the network."""

    __slots__ = ("_target", "_transport", "endpoint")
    relayed = False

    def __init__(self, transport: MemoryTransport, target: Address) -> None:
        self._transport, self._target = transport, target
        self.endpoint = format_endpoint(*target)

    @property
    def transport(self) -> str:  # type: ignore[override]
        """The transport's name."""
        return self._transport.name

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        """Send a burst now; False where any of it was dropped."""
        return self._transport.send(self._target, datagrams)

    def knock(self, datagram: Buffer, ttl: int) -> bool:
        """Send one datagram that dies after so many routers."""
        return self._transport.send(self._target, [datagram], ttl)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MemoryPath) and (self.transport, self._target) == (other.transport, other._target)

    def __hash__(self) -> int:
        return hash((self.transport, self._target))

    def __repr__(self) -> str:
        return f"{self.transport}:{self.endpoint}"


class MemoryTransport(Transport):
    """Datagrams over a simulated network. Strict: it raises where a caller breaks the capability's rules."""

    def __init__(self, host: Host, port: int = 41641, *, name: str = "memory") -> None:
        self.name = name
        self._host, self._number = host, port
        self._port: Port | None = None
        self._receive: Receive | None = None

    async def start(self, receive: Receive) -> None:
        """Open the port; PlatformError where it is in use."""
        try:
            self._port = self._host.bind(self._number, self._arrived)
        except OSError as error:
            raise PlatformError(f"{error}; close the other program or choose another port") from None
        self._receive = receive

    def endpoints(self) -> Sequence[str]:
        """The host's present addresses with the port."""
        if self._port is None:
            return ()
        return [format_endpoint(address, self._port.number) for address in self._host.addresses]

    def path(self, endpoint: str) -> MemoryPath:
        """The path to ``address:port`` or ``[address]:port``."""
        host, port = parse_endpoint(endpoint)
        return MemoryPath(self, (str(host), port))

    def send(self, target: Address, datagrams: Sequence[Buffer], ttl: int = TTL) -> bool:
        """What paths call."""
        if not 0 < len(datagrams) <= BURST:
            raise LocalProtocolError(f"a burst of {len(datagrams)} datagrams; a call carries 1 to {BURST}")
        return self._port is not None and self._port.send(target, datagrams, ttl)

    async def close(self) -> None:
        """Close the port."""
        if self._port is not None:
            self._port.close()
        self._port = self._receive = None

    def _arrived(self, source: Address, burst: list[bytes]) -> None:
        if self._receive is not None:
            self._receive(MemoryPath(self, source), burst)
