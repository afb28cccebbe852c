"""The server's side of a TLS handshake on a socket of our own."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable

HANDSHAKE = b"\x16"
"""The type of a handshake's first record (RFC 8446 section 5.1)."""


async def accept(
    connection: socket.socket, context: ssl.SSLContext, timeout: float, turn: Callable[[], Awaitable[None]]
) -> ssl.SSLSocket:
    """``connection`` (non-blocking) with TLS on it; OSError, and it is closed, where that takes over ``timeout`` s.

    Every other failure is an OSError too. TLS takes 50 KB and most of a millisecond: a client that does not begin a
    handshake gets none, and one that does waits for its ``turn``.
    """
    async with asyncio.timeout(timeout):
        with connection:  # until it has become the other
            if await _first_byte(connection) != HANDSHAKE:
                raise ConnectionAbortedError("no TLS handshake")
            await turn()
            secured = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        try:
            await _shake_hands(secured)
        except BaseException:
            secured.close()
            raise
    return secured


async def _first_byte(connection: socket.socket) -> bytes:
    """Most clients have begun to speak by the time they are accepted."""
    try:
        return connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        await _readable(connection.fileno())
        return connection.recv(1, socket.MSG_PEEK)


async def _shake_hands(connection: ssl.SSLSocket) -> None:
    while True:
        try:
            return connection.do_handshake()
        except ssl.SSLWantReadError:
            await _readable(connection.fileno())
        except ssl.SSLWantWriteError:
            await _writable(connection.fileno())


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(descriptor, _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


async def _writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(descriptor, _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_writer(descriptor)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
