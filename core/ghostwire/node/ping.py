"""One ICMP echo to a mesh address, from this machine's own network stack (RFC 792, RFC 4443)."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time

from ghostwire.errors import PermissionDenied, Unavailable

_REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}
_REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}
_PROTOCOL = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}
_HEADER = struct.Struct("!BBHHH")
"""Type, code, checksum, identifier, sequence number."""


async def echo(address: str, timeout: float) -> float:
    """The round trip in seconds; Unavailable without an answer within ``timeout`` seconds."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    token = os.urandom(16)
    with _open(family) as probe:
        began = time.perf_counter()
        try:
            probe.connect((address, 0))
            probe.send(_request(family, token))
            async with asyncio.timeout(timeout):
                await _answer(probe, family, token)
        except TimeoutError:
            raise Unavailable(f"{address}: no answer within {round(timeout, 2):g} s") from None
        except OSError as error:
            raise Unavailable(f"{address}: {error.strerror}") from None
        return time.perf_counter() - began


def _open(family: socket.AddressFamily) -> socket.socket:
    """An ICMP socket that needs no privilege, or else a raw one."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            return socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, _PROTOCOL[family])
        except PermissionError:
            continue
    raise PermissionDenied("no ICMP socket may be opened; run the node as root")


def _request(family: socket.AddressFamily, token: bytes) -> bytes:
    identifier = int.from_bytes(token[:2])
    body = _HEADER.pack(_REQUEST[family], 0, 0, identifier, 1) + token
    checksum = _checksum(body)
    return _HEADER.pack(_REQUEST[family], 0, checksum, identifier, 1) + token


async def _answer(probe: socket.socket, family: socket.AddressFamily, token: bytes) -> None:
    """Read until the reply that carries the token; a raw IPv4 socket puts the IP header before it."""
    loop = asyncio.get_running_loop()
    while True:
        data = await loop.sock_recv(probe, 2048)
        at = (data[0] & 15) * 4 if family == socket.AF_INET and data[:1] and data[0] >> 4 == 4 else 0
        if data[at : at + 1] == bytes([_REPLY[family]]) and data.endswith(token):
            return


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes; the kernel computes ICMPv6's own."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF
