"""A name server of the lab: says one address for each name it knows, over UDP."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Mapping

from natlab import Lab

_A, _NO_ERROR, _NO_NAME = 1, 0x8180, 0x8183
_ANSWER = struct.Struct("!HHHIH")
"""A pointer to the question's name, type, class, seconds that it holds, bytes of the address."""


@contextlib.contextmanager
def resolving(lab: Lab, member: str, names: Mapping[str, str]) -> Iterator[list[str]]:
    """IPv4 addresses by name, asked for at the member's port 53; the list grows with the addresses of who asked."""
    asked: list[str] = []
    with lab.socket(member) as sock:
        sock.bind(("0.0.0.0", 53))
        thread = threading.Thread(target=_serve, args=(sock, names, asked), daemon=True)
        thread.start()
        try:
            yield asked
        finally:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def _serve(sock: socket.socket, names: Mapping[str, str], asked: list[str]) -> None:
    with contextlib.suppress(OSError):
        while True:
            query, source = sock.recvfrom(512)
            if not query:
                return
            asked.append(source[0])
            sock.sendto(_reply(query, names), source)


def _reply(query: bytes, names: Mapping[str, str]) -> bytes:
    """RFC 1035, section 4.1; other types than A have no answer."""
    end = query.index(0, 12) + 5
    kind = int.from_bytes(query[end - 4 : end - 2])
    address = names.get(_name(query[12 : end - 5]))
    answer = b""
    if address is not None and kind == _A:
        answer = _ANSWER.pack(0xC00C, _A, 1, 60, 4) + socket.inet_aton(address)
    flags = _NO_NAME if address is None else _NO_ERROR
    return query[:2] + struct.pack("!5H", flags, 1, bool(answer), 0, 0) + query[12:end] + answer


def _name(labels: bytes) -> str:
    parts = []
    while labels:
        size = labels[0]
        parts.append(labels[1 : 1 + size].decode().lower())
        labels = labels[1 + size :]
    return ".".join(parts)
