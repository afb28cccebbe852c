"""Takes a connection away from the event loop's transport: the bare socket, for whoever reads and writes by himself."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl

from ghostwire.frontdoor.tls_transport import TlsTransport


def take_socket(transport: asyncio.Transport) -> socket.socket | ssl.SSLSocket | None:
    """The connection's own non-blocking socket; from here on it belongs to the caller, who also closes it.

    The transport is done with: its protocol hears nothing more, not even `connection_lost`, and the peer notices
    nothing. Bytes that were not handed to the protocol are still to be read.

    None, and nothing has changed, where there is no socket to give: the transport has none (a simulated network), its
    TLS lives in the event loop, it is closing, bytes wait to be written, or the process is out of descriptors. Then
    use the transport as it is.
    """
    if isinstance(transport, TlsTransport):
        return transport.detach()
    bare = transport.get_extra_info("socket")
    if bare is None or transport.get_extra_info("ssl_object") is not None:
        return None
    if transport.is_closing() or transport.get_write_buffer_size():
        return None
    return _taken(transport, bare.fileno())


def _taken(transport: asyncio.Transport, descriptor: int) -> socket.socket | None:
    """Closing a transport without shutting its connection down leaves a duplicate of the descriptor connected."""
    try:
        taken = socket.socket(fileno=os.dup(descriptor))
    except OSError:
        return None
    taken.setblocking(False)
    transport.pause_reading()
    transport.set_protocol(asyncio.Protocol())  # deaf: all its callbacks do nothing
    transport.abort()
    return taken
