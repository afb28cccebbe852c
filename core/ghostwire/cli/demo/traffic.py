"""Real traffic between places: echo requests and a TCP transfer, from plain sockets."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from ipaddress import ip_address

from ghostwire.cli.demo.stage import Place, Stage
from ghostwire.errors import Unavailable

# An echo message: type, code, checksum (2 bytes), identifier (2), sequence number (2), data. RFC 792, RFC 4443.
_ECHO = struct.Struct("!BBHHH")
_ECHO4, _REPLY4 = 8, 0
_ECHO6, _REPLY6 = 128, 129
_DATA = b"GhostWire demo".ljust(56, b".")
_CHUNK = 256 << 10
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_PROTOCOL = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}


def ping(stage: Stage, place: Place, target: str, *, count: int = 3, patience: float = 10.0) -> list[float]:
    """Round-trip times in seconds of ``count`` echo requests; Unavailable where none is answered in ``patience``."""
    version = ip_address(target).version
    with stage.inside(place):
        sock = socket.socket(_FAMILY[version], socket.SOCK_RAW, _PROTOCOL[version])
    times: list[float] = []
    deadline = time.monotonic() + patience
    with sock:
        for number in range(1, 1 << 16):
            taken = _echo(sock, target, version, number)
            times += [] if taken is None else [taken]
            if len(times) == count:
                return times
            if time.monotonic() > deadline:
                raise Unavailable(f"{place.name} gets no answer from {target}")
    return times


def _echo(sock: socket.socket, target: str, version: int, number: int, *, wait: float = 0.5) -> float | None:
    began = time.monotonic()
    try:
        sock.sendto(_message(version, number), (target, 0))
    except OSError:  # the route is not there yet
        time.sleep(0.1)
        return None
    while (left := began + wait - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            packet = sock.recv(2048)
        except TimeoutError:
            break
        if _answers(packet, version, number):
            return time.monotonic() - began
    return None


def _message(version: int, number: int) -> bytes:
    kind = _ECHO4 if version == 4 else _ECHO6
    bare = _ECHO.pack(kind, 0, 0, os.getpid() & 0xFFFF, number) + _DATA
    return _ECHO.pack(kind, 0, _checksum(bare), os.getpid() & 0xFFFF, number) + _DATA


def _checksum(data: bytes) -> int:
    """RFC 1071; for ICMPv6 the kernel puts its own in."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def _answers(packet: bytes, version: int, number: int) -> bool:
    """Whether this is the reply to that echo; an IPv4 raw socket gives the IP header as well."""
    body = packet[(packet[0] & 15) * 4 :] if version == 4 else packet
    kind, _, _, identifier, sequence = _ECHO.unpack_from(body)
    expected = (_REPLY4 if version == 4 else _REPLY6, os.getpid() & 0xFFFF, number)
    return (kind, identifier, sequence) == expected


def transfer(stage: Stage, source: Place, target: Place, address: str, *, seconds: float) -> tuple[int, float]:
    """Send over TCP to a mesh address for so long; bytes that arrived, and in how many seconds."""
    with stage.inside(target):
        listener = socket.create_server((address, 0))
    with stage.inside(source):
        sender = socket.socket()
    with listener, sender:
        sender.settimeout(10)
        listener.settimeout(10)
        sender.connect(listener.getsockname())
        receiver, _ = listener.accept()
        with receiver:
            receiver.settimeout(10)
            sending = threading.Thread(target=_send, args=(sender, seconds))
            began = time.monotonic()
            sending.start()
            arrived = _receive(receiver)
            sending.join()
            return arrived, time.monotonic() - began


def _send(sock: socket.socket, seconds: float) -> None:
    data, end = bytes(_CHUNK), time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        sock.close()  # the receiver sees the end, and too few bytes


def _receive(sock: socket.socket) -> int:
    buffer, arrived = bytearray(_CHUNK), 0
    while count := sock.recv_into(buffer):
        arrived += count
    return arrived
