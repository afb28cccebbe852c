"""A transport over a TLS socket: OpenSSL works on the descriptor itself, so that an idle connection holds no buffers
and the whole TLS session can change hands (see `ghostwire.frontdoor.handover`).

    open ──close()──► flushing ──all is written──► lingering ──the peer hung up too──► lost
      └──────────────────── abort(), an error, time is up ─────────────────────────────┘

TLS may have to write in order to read and the other way round, so what the loop watches for follows from the state,
and is worked out in one place: `_watch`. What TLS has decrypted already makes no descriptor readable, so it is asked
after every read.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from ghostwire.frontdoor.outbox import RECORD, Outbox
from ghostwire.system.delivery import deliver

AT_ONCE = 16
"""Records read or written before other work gets its turn."""
FLUSH_TIMEOUT = 30.0
"""Seconds in which a connection that is closing has to take what waits for it."""
LINGER = 2.0
"""Seconds the peer then has to hang up too: closing first would reset what is still on its way to him."""


class TlsTransport(asyncio.Transport):
    """A connection whose handshake is done. The constructor calls ``connection_made``.

    There is no half-closing: at the peer's end of data the transport closes, whatever ``eof_received`` says.
    """

    def __init__(self, connection: ssl.SSLSocket, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._socket, self._descriptor = connection, connection.fileno()
        self._names = _names(connection)
        self._protocol: Any = protocol
        self._outbox = Outbox()
        self._paused = self._protocol_paused = False
        self._closing = self._lingering = self._lost = False
        self._read_needs_write = self._write_needs_read = False
        self._reader = self._writer = False
        self._reading_soon = self._flushing_soon = False
        self._deadline: asyncio.TimerHandle | None = None
        self._call(protocol.connection_made, self)
        self._watch()
        self._read_soon()  # what the client said right after its handshake

    # what is known of the connection

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """``peername sockname socket ssl_object sslcontext peercert cipher``; towards the end only the first two."""
        if name in self._names:
            return self._names[name]
        if self._lost or self._lingering:
            return default
        if name in ("socket", "ssl_object"):
            return self._socket
        ask: dict[str, Callable[[], Any]] = {
            "sslcontext": lambda: self._socket.context,
            "peercert": self._socket.getpeercert,
            "cipher": self._socket.cipher,
        }
        return ask[name]() if name in ask else default

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who hears what arrives."""
        return self._protocol  # type: ignore[no-any-return]

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """From now on this one hears what arrives."""
        self._protocol = protocol

    def detach(self) -> ssl.SSLSocket | None:
        """Give the TLS session away; None, and nothing has changed, while closing or with bytes still to be written.

        The protocol hears nothing more. What TLS has decrypted already is read from the socket first.
        """
        if not self._writer:
            self._flush()
        if self._closing or self._outbox.size:
            return None
        self._forget()
        self._protocol = asyncio.Protocol()
        return self._socket

    # reading

    def is_reading(self) -> bool:
        """Whether the protocol gets data as it comes."""
        return not self._paused and not self._closing

    def pause_reading(self) -> None:
        """Leave what comes where it is."""
        self._paused = True
        self._watch()

    def resume_reading(self) -> None:
        """Deliver again."""
        self._paused = False
        if self.is_reading() and self._socket.pending():
            self._read_soon()
        self._watch()

    def _read_soon(self) -> None:
        """Where there is more: the loop may not tell, for TLS may have it already, or libuv told of an error before."""
        if self.is_reading() and not self._reading_soon:
            self._reading_soon = True
            self._loop.call_soon(self._readable)

    def _readable(self) -> None:
        self._reading_soon = False
        if self._lingering and not self._lost:
            self._throw_away()
        if self._write_needs_read:
            self._flush()
        if self.is_reading():
            self._read()
        self._watch()

    def _read(self) -> None:
        chunks: list[bytes] = []
        more, ending = False, None
        try:
            more = self._decrypt(chunks)
        except (EOFError, OSError) as error:
            ending = error
        if chunks:
            self._call(deliver, self._protocol, b"".join(chunks))
        if isinstance(ending, EOFError):
            self._hear_the_end()
        elif ending is not None:
            self._lose(ending)
        elif more:
            self._read_soon()

    def _decrypt(self, chunks: list[bytes]) -> bool:
        """Add up to `AT_ONCE` records; whether there may be more, or EOFError."""
        self._read_needs_write = False
        try:
            for _ in range(AT_ONCE):
                if not (chunk := self._socket.read(RECORD)):
                    raise EOFError
                chunks.append(chunk)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLWantWriteError:
            self._read_needs_write = True
            return False
        return True

    def _hear_the_end(self) -> None:
        if not self._closing:
            self._call(self._protocol.eof_received)
            self.close()

    # writing

    def get_write_buffer_size(self) -> int:
        """Bytes that TLS has not taken yet."""
        return self._outbox.size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """(low, high), in bytes."""
        return self._outbox.low, self._outbox.high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Where the protocol is paused and resumed, in bytes; ``low`` is a quarter of ``high`` unless it is given."""
        self._outbox.set_limits(high, low)
        self._pause_or_resume()

    def can_write_eof(self) -> bool:
        """False: TLS connections close as a whole."""
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send it, small ones together and not before the protocol's callback is done; nothing once closing."""
        if self._closing or not data:
            return
        self._outbox.put(data)
        if self._writer:
            self._pause_or_resume()
        elif self._outbox.size >= RECORD:
            self._flush()
        elif not self._flushing_soon:
            self._flushing_soon = True
            self._loop.call_soon(self._flush)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send them as one."""
        self.write(b"".join(list_of_data))

    def _writable(self) -> None:
        if self._read_needs_write and self.is_reading():
            self._read()
        self._flush()

    def _flush(self) -> None:
        """As much as can be sent now; `_watch` sees to the rest."""
        self._flushing_soon = self._write_needs_read = False
        if self._lost:
            return
        try:
            self._send()
        except ssl.SSLWantWriteError:
            pass
        except ssl.SSLWantReadError:
            self._write_needs_read = True
        except OSError as error:
            self._lose(error)
        self._pause_or_resume()
        if self._closing and not self._outbox.size:
            self._say_goodbye()
        self._watch()

    def _send(self) -> None:
        for _ in range(AT_ONCE):
            if not (record := self._outbox.record()):
                return
            self._outbox.taken(self._socket.write(record))

    def _pause_or_resume(self) -> None:
        if self._outbox.size > self._outbox.high and not self._protocol_paused:
            self._protocol_paused = True
            self._call(self._protocol.pause_writing)
        elif self._outbox.size <= self._outbox.low and self._protocol_paused and not self._lost:
            self._protocol_paused = False
            self._call(self._protocol.resume_writing)

    # the end

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called, or the connection is lost."""
        return self._closing

    def close(self) -> None:
        """Write what is left, say goodbye as TLS does, and hang up."""
        if self._closing:
            return
        self._closing = True
        self._arm(FLUSH_TIMEOUT)
        self._flush()

    def abort(self) -> None:
        """Hang up at once."""
        self._lose(None)

    def _say_goodbye(self) -> None:
        """Send TLS's close_notify and TCP's FIN, then wait for the peer's. Without room for it `_watch` tries again."""
        if self._lingering or self._lost:
            return None
        try:
            self._socket.unwrap()
        except ssl.SSLWantWriteError:
            return None
        except (OSError, ValueError):
            pass  # sent, and the peer's own is still to come; or it is too late for good manners
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return self._lose(None)  # he is gone already
        self._lingering = True
        return self._arm(LINGER)

    def _throw_away(self) -> None:
        """What the peer still sends; TLS's state no longer matters."""
        try:
            ended = not socket.socket.recv(self._socket, AT_ONCE * RECORD)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._forget()
        self._outbox.clear()
        self._loop.call_soon(self._end, error)

    def _end(self, error: Exception | None) -> None:
        self._socket.close()
        self._call(self._protocol.connection_lost, error)
        self._protocol = None

    def _forget(self) -> None:
        """Leave the event loop."""
        self._closing = self._lost = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._watch()

    # the event loop

    def _watch(self) -> None:
        reader = self._lingering or self._write_needs_read or (self.is_reading() and not self._read_needs_write)
        blocked = (self._outbox.size and not self._flushing_soon) or (self._closing and not self._lingering)
        writer = (blocked and not self._write_needs_read) or (self._read_needs_write and self.is_reading())
        self._watch_reader(reader and not self._lost)
        self._watch_writer(writer and not self._lost)

    def _watch_reader(self, wanted: bool) -> None:
        if wanted and not self._reader:
            self._loop.add_reader(self._descriptor, self._readable)
        elif self._reader and not wanted:
            self._loop.remove_reader(self._descriptor)
        self._reader = wanted

    def _watch_writer(self, wanted: bool) -> None:
        if wanted and not self._writer:
            self._loop.add_writer(self._descriptor, self._writable)
        elif self._writer and not wanted:
            self._loop.remove_writer(self._descriptor)
        self._writer = wanted

    def _arm(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._loop.call_later(seconds, self._lose, None)

    def _call(self, callback: Callable[..., object], *args: object) -> None:
        """A bug in a protocol costs its own connection."""
        try:
            callback(*args)
        except Exception as error:
            self._loop.call_exception_handler(
                {"message": f"{callback} failed", "exception": error, "transport": self, "protocol": self._protocol}
            )
            self._lose(error)


def _names(connection: socket.socket) -> dict[str, Any]:
    names: dict[str, Any] = {"sockname": None, "peername": None}
    with suppress(OSError):  # reset already
        names["sockname"] = connection.getsockname()
        names["peername"] = connection.getpeername()
    return names
