"""Streams between simulated hosts: asyncio transports with latency, flow control, half-close, reset and cuts."""

from __future__ import annotations

import asyncio
import socket
import ssl
from asyncio import sslproto
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ghostwire.capabilities.contexts import Sockets
from ghostwire.engine import SECOND
from ghostwire.errors import PlatformError, Unavailable
from ghostwire.system.delivery import deliver
from ghostwire.testing.nat import Address

if TYPE_CHECKING:
    from ghostwire.testing.network import Host

P = TypeVar("P", bound=asyncio.BaseProtocol)
Factory = Callable[[], asyncio.BaseProtocol]

WINDOW = 128 * 1024
"""Bytes the two kernels hold for a reader that does not read; what exceeds them waits in the writer."""
HIGH, LOW = 64 * 1024, 16 * 1024
CONNECT_TIMEOUT = 10 * SECOND

_EOF = object()
_RESET = object()


class MemoryStream(asyncio.Transport):
    """One end of a stream; ``peer`` is the other."""

    peer: MemoryStream

    def __init__(self, local: Host, remote: Host, sockname: Address, peername: Address) -> None:
        super().__init__({"sockname": sockname, "peername": peername})
        self.local, self.remote = local, remote
        self._loop = asyncio.get_running_loop()
        self._protocol: Any = None
        self._under_way: deque[tuple[int, object]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._inbox: deque[object] = deque()
        self._outstanding = 0
        self._high, self._low = HIGH, LOW
        self._writer_paused = self._reader_paused = False
        self._closing = self._ended = self._lost = False
        self._fuse: int | None = None
        local.network.streams[self] = None

    # Reading

    def is_reading(self) -> bool:
        """Whether data goes to the protocol."""
        return not self._reader_paused and not self._closing

    def pause_reading(self) -> None:
        """Hold back what arrives."""
        self._reader_paused = True

    def resume_reading(self) -> None:
        """Hand over what was held back."""
        self._reader_paused = False
        self._loop.call_soon(self._drain)

    # Writing

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send, in order and whole."""
        if self._ended:
            raise RuntimeError("cannot write after write_eof()")
        if self._closing or not data:
            return
        self._outstanding += len(data)
        self._ship(bytes(data))
        if not self._writer_paused and self.get_write_buffer_size() > self._high:
            self._writer_paused = True
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        """End this direction; the other stays open."""
        if not self._ended and not self._closing:
            self._ended = True
            self._ship(_EOF)

    def can_write_eof(self) -> bool:
        """Streams can be half-closed."""
        return True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When the protocol is asked to pause and to go on, in bytes."""
        self._high = high if high is not None else 4 * low if low is not None else HIGH
        self._low = low if low is not None else self._high // 4

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """(low, high)."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """Bytes that found no room in the `WINDOW`."""
        return max(0, self._outstanding - WINDOW)

    # Ending

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called, or the connection is gone."""
        return self._closing

    def close(self) -> None:
        """Send what was written, then end both directions."""
        if self._closing:
            return
        if not self._ended:
            self._ship(_EOF)
        self._closing = True
        self._discard_inbox()
        if not self.get_write_buffer_size():
            self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        """End at once; the other end sees a reset, perhaps before all that was written."""
        if self._lost:
            return
        self._closing = True
        self._under_way.clear()
        self._ship(_RESET)
        self._discard_inbox()
        self._loop.call_soon(self._lose, None)

    def _force_close(self, error: Exception | None) -> None:
        """What asyncio's TLS calls when a handshake fails."""
        self.abort()

    def sever(self) -> None:
        """Break the connection under both ends: each sees a reset."""
        for end in (self, self.peer):
            end._under_way.clear()
            end._closing = True
            self._loop.call_soon(end._lose, ConnectionResetError("connection reset by peer"))

    def sever_after(self, size: int) -> None:
        """Let this end receive so many bytes more, whatever they are part of; then break the connection."""
        self._fuse = size

    # The wiring

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the stream to another protocol."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who gets the data."""
        return self._protocol  # type: ignore[no-any-return]

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        """Tell the protocol that it is connected; then data may flow."""
        self._protocol = protocol
        protocol.connection_made(self)
        self._drain()

    def resume(self) -> None:
        """Try again what a cut held up."""
        if self._under_way and self._timer is None:
            self._timer = self._loop.call_soon(self._arrive)  # type: ignore[assignment]

    def _ship(self, item: object) -> None:
        network = self.local.network
        arrival = network.clock.now() + network.stream_delay(self.local, self.remote)
        if self._under_way:
            arrival = max(arrival, self._under_way[-1][0])
        self._under_way.append((arrival, item))
        if self._timer is None:
            self._arm()

    def _arm(self) -> None:
        delay = self._under_way[0][0] - self.local.network.clock.now()
        self._timer = self._loop.call_later(max(0, delay) / SECOND, self._arrive)

    def _arrive(self) -> None:
        self._timer = None
        network = self.local.network
        while self._under_way and network.connected(self.local, self.remote):
            if self._under_way[0][0] > network.clock.now():
                return self._arm()
            self.peer._take(self._under_way.popleft()[1])
        return self._forget()

    def _take(self, item: object) -> None:
        """Receive what the peer sent; an end that is gone answers data with a reset."""
        if self._fuse is not None and isinstance(item, bytes):
            item = self._burn(item, self._fuse)
        if self._lost and isinstance(item, bytes):
            self._ship(_RESET)
        elif item is _RESET:
            self._closing = True
            self._discard_inbox()
            self._loop.call_soon(self._lose, ConnectionResetError("connection reset by peer"))
        else:
            self._inbox.append(item)
            self._drain()

    def _burn(self, item: bytes, left: int) -> bytes:
        self._fuse = left - len(item)
        if self._fuse >= 0:
            return item
        if left > 0 and not self._inbox and self.is_reading():
            self._deliver(item[:left])
        self.sever()
        return b""

    def _drain(self) -> None:
        if self._closing:
            return self._discard_inbox()
        while self._inbox and self._protocol is not None and self.is_reading():
            item = self._inbox.popleft()
            if isinstance(item, bytes):
                self._deliver(item)
                self.peer._consumed(len(item))
            elif not self._protocol.eof_received():
                self.close()
        return None

    def _deliver(self, data: bytes) -> None:
        try:
            deliver(self._protocol, data)
        except Exception as error:
            self._loop.call_exception_handler({"message": "data_received() failed", "exception": error})
            self.abort()

    def _discard_inbox(self) -> None:
        taken = sum(len(item) for item in self._inbox if isinstance(item, bytes))
        self._inbox.clear()
        if taken:
            self.peer._consumed(taken)

    def _consumed(self, size: int) -> None:
        self._outstanding -= size
        if self._writer_paused and self.get_write_buffer_size() <= self._low:
            self._writer_paused = False
            self._protocol.resume_writing()
        if self._closing and not self.get_write_buffer_size():
            self._loop.call_soon(self._lose, None)

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        self._forget()
        if self._protocol is not None:
            self._protocol.connection_lost(error)

    def _forget(self) -> None:
        if self._lost and not self._under_way:
            self.local.network.streams.pop(self, None)


class Listener:
    """A port that accepts streams."""

    def __init__(self, host: Host, port: int, factory: Factory, tls: object) -> None:
        self.host, self.port, self._factory, self._tls = host, port, factory, tls

    def accept(self, stream: MemoryStream) -> None:
        """Give a new stream its protocol."""
        protocol = self._factory()
        if isinstance(self._tls, ssl.SSLContext):
            loop = asyncio.get_running_loop()
            protocol = sslproto.SSLProtocol(loop, protocol, self._tls, None, server_side=True)  # type: ignore[arg-type]
        stream.begin(protocol)

    def close(self) -> None:
        """Accept no more; open streams stay."""
        if self.host.listeners.get(self.port) is self:
            del self.host.listeners[self.port]


class MemorySockets(Sockets):
    """The way of ``host`` to make streams."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def udp(self, host: str, port: int) -> socket.socket:
        """There are no real sockets here; use `MemoryTransport` or `Host.bind`."""
        raise PlatformError("a simulated host has no UDP sockets; use its memory transport")

    async def connect(
        self,
        protocol: Callable[[], P],
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> tuple[asyncio.Transport, P]:
        """A stream to a host's name or address; Unavailable where it refuses, or nothing answers for 10 s."""
        remote = await self._reach(host, port)
        network = self.host.network
        source = self._source(remote, port)
        ours = MemoryStream(self.host, remote, source, (host, port))
        theirs = MemoryStream(remote, self.host, (host, port), source)
        ours.peer, theirs.peer = theirs, ours
        remote.listeners[port].accept(theirs)
        try:
            await asyncio.sleep(network.stream_delay(remote, self.host) / SECOND)
        except asyncio.CancelledError:
            ours.abort()
            raise
        made = protocol()
        return (await _secure(ours, made, tls, server_name or host) if tls else _plain(ours, made)), made

    async def listen(self, protocol: Factory, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> Listener:
        """Accept streams at a port of this host, whatever the address; PlatformError where it is in use."""
        try:
            return self.host.listen(port, protocol, tls=tls)
        except OSError as error:
            raise PlatformError(str(error)) from error

    def _source(self, remote: Host, port: int) -> Address:
        address = self.host.address_towards(remote.addresses[0]) or "0.0.0.0"
        own = (address, self.host.free_port())
        if self.host.nat is None or ":" in address:
            return own
        return self.host.nat.outward(own, (remote.addresses[0], port), self.host.network.clock.now())

    async def _reach(self, name: str, port: int) -> Host:
        network = self.host.network
        remote = network.find(name)
        if remote is None or not network.connected(self.host, remote) or not self.host.addresses:
            await asyncio.sleep(CONNECT_TIMEOUT / SECOND)
            raise Unavailable(f"{name}:{port}: no answer")
        await asyncio.sleep(network.stream_delay(self.host, remote) / SECOND)
        if port not in remote.listeners:
            await asyncio.sleep(network.stream_delay(remote, self.host) / SECOND)
            raise Unavailable(f"{name}:{port}: connection refused")
        return remote


def _plain(stream: MemoryStream, protocol: asyncio.BaseProtocol) -> asyncio.Transport:
    stream.begin(protocol)
    return stream


async def _secure(
    stream: MemoryStream, protocol: asyncio.BaseProtocol, tls: ssl.SSLContext, name: str
) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    wrapped = sslproto.SSLProtocol(loop, protocol, tls, ready, server_side=False, server_hostname=name)
    stream.begin(wrapped)
    try:
        await ready
    except BaseException:
        stream.abort()
        raise
    return wrapped._get_app_transport()  # type: ignore[attr-defined, no-any-return]
