"""The `quic` transport: sockets, engine and clock joined."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Sequence

from ghostwire import SEALED_MTU, Buffer, Path, Receive, Transport, TransportContext
from ghostwire.driver import Driver
from ghostwire.errors import PlatformError
from ghostwire.wire.messages import MAX_ENDPOINTS
from ghostwire_transport_quic.counters import Counters
from ghostwire_transport_quic.engine import Endpoint
from ghostwire_transport_quic.keyfile import Credentials, load_credentials
from ghostwire_transport_quic.library import LARGEST, Deferred
from ghostwire_transport_quic.port import Port
from ghostwire_transport_quic.remote import Address, Remote, parse_remote

PORT = 41_642


class QuicPath(Path):
    """A remote end; equal to every other path to the same address and pin."""

    __slots__ = ("_transport", "endpoint", "remote")
    transport = "quic"
    relayed = False

    def __init__(self, transport: QuicTransport, remote: Remote) -> None:
        self._transport, self.remote, self.endpoint = transport, remote, remote.text

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        """Send, or queue while a connection is dialled; False where any was dropped."""
        return self._transport.send(self.remote, datagrams)

    def __eq__(self, other: object) -> bool:
        return self is other or (type(other) is QuicPath and self.remote == other.remote)

    def __hash__(self) -> int:
        return hash(self.remote)

    def __repr__(self) -> str:
        return f"QuicPath({self.endpoint})"


class QuicTransport(Transport):
    """Sealed datagrams in QUIC's DATAGRAM frames (RFC 9221), over a UDP port of its own."""

    name = "quic"

    def __init__(self, context: TransportContext) -> None:
        self._context = context
        self.counters = Counters()
        self.counters.register(context.metrics)
        context.metrics.gauge("ghostwire_quic_connections", "Connections, dialled and accepted.", self._connections)
        self._port = Port(context.sockets, self.counters, context.failed)
        self._credentials: Credentials | None = None
        self._engine: Endpoint | None = None
        self._driver: Driver | None = None
        self._receive: Receive | None = None

    async def start(self, receive: Receive) -> None:
        """Bind the port and listen. PlatformError where that fails, or where no library is installed."""
        if LARGEST < SEALED_MTU:
            raise PlatformError(f"QUIC packets carry {LARGEST} bytes, and {SEALED_MTU} are needed")
        self._credentials = load_credentials(self._context.state)
        library = Deferred(self._context.settings.library, self._credentials, self._context.failed)
        self._open()
        self._engine = Endpoint(library, self._credentials.pin, self._context.entropy, self.counters)
        self._receive = receive
        self._driver = Driver(self._engine, self._context.clock, self._drain)

    def _open(self) -> None:
        """The operator's port or none; without his word any free one where the usual one is in use."""
        wanted: int | None = self._context.settings.port
        try:
            self._port.open(PORT if wanted is None else wanted, self._take)
        except PlatformError:
            if wanted is not None:
                raise
            self._port.close()
            self._port.open(0, self._take)
            self._context.log.info(
                "UDP port %d is in use: quic listens on %d instead; set port in [plugin.transport_quic] to choose one",
                PORT,
                self._port.number(six=False),
            )

    def endpoints(self) -> Sequence[str]:
        """What the operator says, and local addresses with the port of their family; each with this node's pin."""
        if self._engine is None or self._credentials is None:
            return []
        pin = self._credentials.pin
        found = [f"{text}#{pin.hex()}" for text in self._context.settings.endpoints]
        for text in self._context.local_addresses():
            number = self._port.number(six=ipaddress.ip_address(text).version == 6)
            if number:
                found.append(Remote((text, number), pin).text)
        return found[:MAX_ENDPOINTS]

    def path(self, endpoint: str) -> QuicPath:
        """The path to ``HOST:PORT#HEX``; ValueError where nothing could be reached there."""
        return QuicPath(self, parse_remote(endpoint))

    def send(self, remote: Remote, datagrams: Sequence[Buffer]) -> bool:
        """What a path calls."""
        if self._engine is None or self._driver is None:
            return False
        try:
            whole = self._engine.send(remote, datagrams, self._context.clock.now())
        except PlatformError:  # no library works, and the context was told
            return False
        self._driver.settle()
        return whole

    async def close(self) -> None:
        """Tell the peers, and close the sockets."""
        if self._driver is not None:
            self._driver.close()
        if self._engine is not None:
            self._engine.close(self._context.clock.now())
            self._port.send(self._engine.take_sends())
        self._engine = self._driver = self._receive = None
        self._port.close()

    def _take(self, source: Address, datagrams: Sequence[Buffer]) -> None:
        if self._engine is None or self._driver is None:
            return
        with contextlib.suppress(PlatformError):  # no library works, and the context was told
            self._engine.receive(list(map(bytes, datagrams)), source, self._context.clock.now())
        self._driver.settle()

    def _drain(self) -> None:
        """Send what the engine sends, then deliver what came, which may send again."""
        engine, receive = self._engine, self._receive
        if engine is None or receive is None:
            return
        engine.flush(self._context.clock.now())
        self._port.send(engine.take_sends())
        for remote, burst in engine.take_deliveries():
            receive(QuicPath(self, remote), burst)

    def _connections(self) -> float:
        return 0 if self._engine is None else self._engine.connections
