"""What a relay and its worker processes say to each other, over a socket pair.

parent                      worker
  Setup              ->                what to be; then the admitted keys
                     <-   Up           it serves, or
                     <-   Failed       why it can't, after which it ends
  AdmittedKeys, Mesh ->                whenever they change
  Recertified        ->                the certificate on disk is another
                     <-   Announced    STUN is served
                     <-   Carrying     its load, where it is another, every `MEASURE_INTERVAL`
  (end of stream)    ->                end: the parent wants it, or is gone itself
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, cast

from ghostwire.capabilities.relaying import Fellows, Load, Siblings
from ghostwire.config import Config
from ghostwire.model import MapRelay, pack, unpacker
from ghostwire.wire.frames import FrameReader, frame_header
from ghostwire.wire.messages import AdmittedKeys, Message

MEASURE_INTERVAL = 2.0
"""Seconds between two looks at a worker's load."""
MAX_MESSAGE = 64 * 1024 * 1024
MAX_PENDING = 2 * MAX_MESSAGE
"""Bytes waiting for a worker above which it is taken for hung."""


class Setup(Message, frozen=True, kw_only=True, tag="setup"):
    """Everything a worker has to know: ``named`` are the command line's --plugin words, ``level`` is the log's."""

    number: int
    config: Config
    named: tuple[str, ...]
    state: str | None
    fellows: Fellows
    level: int

    def __repr__(self) -> str:
        return f"Setup({self.number})"


class Mesh(Message, frozen=True, kw_only=True, tag="mesh"):
    """The siblings now."""

    relays: tuple[MapRelay, ...]
    mesh_key: bytes

    @property
    def siblings(self) -> Siblings:
        """As `Relaying` has them."""
        return Siblings(self.relays, self.mesh_key)

    def __repr__(self) -> str:
        return f"Mesh({self.relays!r}, mesh key hidden)"


class Recertified(Message, frozen=True, kw_only=True, tag="recertified"):
    """Show the certificate that is on disk now."""


class Up(Message, frozen=True, kw_only=True, tag="up"):
    """The worker serves on this port."""

    port: int


class Failed(Message, frozen=True, kw_only=True, tag="failed"):
    """The worker can't serve: the error's type and its line."""

    kind: str
    text: str


class Announced(Message, frozen=True, kw_only=True, tag="announced"):
    """STUN is served on this UDP port."""

    stun_port: int


class Carrying(Message, frozen=True, kw_only=True, tag="carrying"):
    """The worker's load."""

    load: Load


_length = struct.Struct(">I")
_setup = unpacker(Setup)
_decoder = unpacker(Setup | AdmittedKeys | Mesh | Recertified | Up | Failed | Announced | Carrying)


class Pipe(asyncio.Protocol):
    """One end. ``received`` is called with each message, ``over`` is set at the end, whoever caused it."""

    def __init__(self, received: Callable[[Any], None]) -> None:
        self._received, self._reader = received, FrameReader(MAX_MESSAGE)
        self._transport: asyncio.Transport | None = None
        self.over = asyncio.Event()

    @classmethod
    async def open(cls, end: socket.socket, received: Callable[[Any], None]) -> Pipe:
        """Speak over this end of a socket pair."""
        end.setblocking(False)
        _, pipe = await asyncio.get_running_loop().create_connection(lambda: cls(received), sock=end)
        return pipe

    def send(self, message: Message) -> None:
        """Tell the other side; nothing happens once it is gone, and one that does not read is given up."""
        if self._transport is None or self._transport.is_closing():
            return
        data = pack(message)
        self._transport.write(frame_header(len(data)) + data)
        if self._transport.get_write_buffer_size() > MAX_PENDING:
            self._transport.abort()

    def close(self) -> None:
        """End; harmless when called twice."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The pipe is open."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand over what is whole."""
        for frame in self._reader.feed(data):
            self._received(_decoder.decode(frame))

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self.over.set()


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """The parent's end and the worker's."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


def from_descriptor(descriptor: int) -> socket.socket:
    """A worker's end, which it inherited."""
    return socket.socket(fileno=descriptor)


def read_setup(end: socket.socket) -> Setup | None:
    """Wait for the first message, before there is a loop; None where the parent is gone."""
    (size,) = _length.unpack(head) if (head := _exactly(end, _length.size)) else (0,)
    data = _exactly(end, size)
    return _setup.decode(data) if data else None


def _exactly(end: socket.socket, size: int) -> bytes:
    """So many bytes, or none where the stream ends before."""
    data = b""
    while len(data) < size:
        more = end.recv(size - len(data))
        if not more:
            return b""
        data += more
    return data
