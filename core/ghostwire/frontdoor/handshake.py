"""The server's side of a TLS handshake on a socket of our own."""

from __future__ import annotations

import asyncio
import socket
import ssl


async def accept(connection: socket.socket, context: ssl.SSLContext, timeout: float) -> ssl.SSLSocket:
    """``connection`` (non-blocking) with TLS on it; OSError, and it is closed, where that takes over ``timeout`` s.

    Every other failure is an OSError too.
    """
    with connection:  # until it has become the other
        secured = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
    try:
        async with asyncio.timeout(timeout):
            await _shake_hands(secured)
    except BaseException:
        secured.close()
        raise
    return secured


async def _shake_hands(connection: ssl.SSLSocket) -> None:
    loop, descriptor = asyncio.get_running_loop(), connection.fileno()
    while True:
        ready = loop.create_future()
        try:
            return connection.do_handshake()
        except ssl.SSLWantReadError:
            watch, forget = loop.add_reader, loop.remove_reader
        except ssl.SSLWantWriteError:
            watch, forget = loop.add_writer, loop.remove_writer
        watch(descriptor, _resolve, ready)
        try:
            await ready
        finally:
            forget(descriptor)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
