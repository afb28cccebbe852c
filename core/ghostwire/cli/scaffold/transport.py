"""The texts of a transport to begin with: UDP over the sockets that core makes."""

FIELDS = """\
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    \"\"\"The UDP port to listen on; 0 takes any free one.\"\"\"
"""

CODE = '''\
"""The transport `$name`: datagrams over one UDP socket for IPv4."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ghostwire import BURST, Buffer, Path, Receive, Transport, TransportContext
from ghostwire.wire.endpoint import format_endpoint, parse_endpoint
from ghostwire.wire.messages import MAX_ENDPOINTS

if TYPE_CHECKING:
    import socket

LARGEST = 65535
Address = tuple[str, int]


class ${class_}Path(Path):
    """The way to one address and port; equal to every other path that leads there."""

    __slots__ = ("_transport", "address", "endpoint")
    transport = "$name"
    relayed = False

    def __init__(self, transport: $class_, address: Address) -> None:
        self._transport, self.address = transport, address
        self.endpoint = format_endpoint(*address)

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        """Send a burst now; False where any of it was dropped."""
        return self._transport.send(self.address, datagrams)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ${class_}Path) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)


class $class_(Transport):
    """Sealed datagrams over UDP."""

    name = "$name"

    def __init__(self, context: TransportContext) -> None:
        self._context = context
        self._socket: socket.socket | None = None
        self._receive: Receive | None = None
        self.dropped = 0
        name = "ghostwire_plugin_$name" + "_dropped_total"
        context.metrics.counter(name, "Datagrams that could not be sent at once", lambda: self.dropped)

    async def start(self, receive: Receive) -> None:
        """Bind the port and deliver from now on; PlatformError where it is in use."""
        self._socket = self._context.sockets.udp("0.0.0.0", self._context.settings.port)
        self._receive = receive
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read, self._socket)

    def endpoints(self) -> Sequence[str]:
        """This machine's addresses with our port."""
        if self._socket is None:
            return ()
        port = self._socket.getsockname()[1]
        addresses = [text for text in self._context.local_addresses() if ip_address(text).version == 4]
        return [format_endpoint(text, port) for text in addresses][:MAX_ENDPOINTS]

    def path(self, endpoint: str) -> ${class_}Path:
        """The path to ``1.2.3.4:5``; ValueError where nobody could be reached there."""
        host, port = parse_endpoint(endpoint)
        if host.version != 4 or host.is_unspecified or host.is_multicast:
            raise ValueError(f"not the IPv4 address of one machine: {endpoint!r}")
        return ${class_}Path(self, (str(host), port))

    def send(self, address: Address, datagrams: Sequence[Buffer]) -> bool:
        """What paths call; what the socket does not take at once is dropped and counted."""
        sent = 0
        for datagram in datagrams if self._socket is not None else ():
            try:
                self._socket.sendto(datagram, address)
            except OSError:
                continue
            sent += 1
        self.dropped += len(datagrams) - sent
        return sent == len(datagrams)

    async def close(self) -> None:
        """Deliver nothing any more, and free the port."""
        bound, self._socket, self._receive = self._socket, None, None
        if bound is not None:
            asyncio.get_running_loop().remove_reader(bound.fileno())
            bound.close()

    def _read(self, bound: socket.socket) -> None:
        """Read a burst at most, and hand on together what one sender sent."""
        sender: Address | None = None
        burst: list[bytes] = []
        for _ in range(BURST):
            try:
                datagram, source = bound.recvfrom(LARGEST)
            except OSError:
                break
            if source != sender:
                self._deliver(sender, burst)
                sender, burst = source, []
            burst.append(datagram)
        self._deliver(sender, burst)

    def _deliver(self, sender: Address | None, burst: Sequence[Buffer]) -> None:
        if sender is not None and self._receive is not None:
            self._receive(${class_}Path(self, sender), burst)
'''

TESTS = '''\
"""The rules that every transport keeps, on `$name`; they are explained by their own names and messages."""

from __future__ import annotations

from pathlib import Path

import pytest
from ghostwire import TransportContext
from ghostwire.testing.contexts import make_context
from ghostwire.testing.contracts import TransportContract

from $package.implementation import $class_
from $package.plugin import Settings


class Test$class_(TransportContract):
    """Every rule of the contract becomes a test."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.state = tmp_path

    async def make(self) -> $class_:
        return $class_(make_context(TransportContext, self.state, Settings(port=0)))
'''
