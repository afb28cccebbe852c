"""A simulated node: its keys, and one stream with nothing between it and the server but the protocol."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import time
from base64 import b64encode
from collections.abc import Callable
from hashlib import blake2s
from typing import Any, NamedTuple

from benchmarks.control import wire

from ghostwire.keys import ControlKey, DiscoKey, NodeKey, PrivateKey
from ghostwire.model import Cursor, Endpoint
from ghostwire.wire import messages
from ghostwire.wire.messages import Credentials, Hello, Host, Leave, Ping, Pong, Refresh, Report
from ghostwire.wire.session import HANDSHAKE_HEADER, ControlSession

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that closes without TIME_WAIT, or ports run out."""
BIND_NO_PORT = 24
"""IP_BIND_ADDRESS_NO_PORT of <linux/in.h>."""
PER_ADDRESS = 50
"""Members that share a source address: a server accepts only so many strangers from one."""
READ = 256 * 1024
END_OF_HEAD = b"\r\n\r\n"


class Target(NamedTuple):
    """The server."""

    port: int
    control_key: ControlKey
    tls: ssl.SSLContext | None


class Member:
    """A machine. ``number`` decides its keys, ``group`` which members it sees; ``secret`` lets it in."""

    __slots__ = (
        "cursor",
        "disco",
        "group",
        "id",
        "machine",
        "name",
        "node",
        "number",
        "secret",
        "sees",
        "sequence",
        "stream",
    )

    def __init__(self, number: int, group: int, secret: str) -> None:
        self.number, self.group, self.secret, self.name = number, group, secret, f"machine-{number}"
        self.machine, self.node = _key("machine", number), _key("node", number)
        self.disco = DiscoKey(blake2s(f"disco {number}".encode()).digest())
        self.id = self.sees = self.sequence = 0
        self.cursor: Cursor | None = None
        self.stream: Stream | None = None

    @property
    def address(self) -> str:
        """Where it connects from."""
        place = self.number // PER_ADDRESS
        return f"127.1.{place >> 8}.{place & 255}"


class Stream:
    """A member's connection from its first byte; ``heard(stream, message, size)`` gets what the server says."""

    __slots__ = (
        "_head",
        "_heard",
        "_server",
        "_session",
        "_shaking",
        "began",
        "mapped",
        "member",
        "mute",
        "sent",
        "socket",
        "welcomed",
        "whole",
    )

    def __init__(self, member: Member, server: Target, heard: Callable[[Stream, Any, int], None]) -> None:
        self.began = self.sent = time.perf_counter()
        self.member, self._server, self._heard = member, server, heard
        self.welcomed = self.mapped = self.mute = self.whole = False
        self._session = ControlSession.initiator(member.machine, server.control_key, os.urandom)
        self.socket = _connected(member.address, server)
        self._head: bytes | None = b""
        self._shaking = server.tls is not None
        if self._shaking:
            self._shake()
        else:
            self._ask()

    def ready(self) -> bool:
        """Read and answer; False where the server hung up."""
        if self._shaking:
            self._shake()
            return True
        while data := self._read():
            self._take(data)
            if len(data) < READ and self._server.tls is None:
                return True
        return data is None

    def say(self, message: Any) -> None:
        """Send a message."""
        self._session.send(messages.encode(message))
        self.socket.send(self._session.outgoing())
        self.sent = time.perf_counter()

    def report(self, home: int | None) -> None:
        """Say where the node can be reached."""
        member = self.member
        member.sequence += 1
        place = Endpoint("udp", f"198.51.100.{member.number % 250}:41641")
        self.say(Report(session=1, sequence=member.sequence, endpoints=(place,), home=home))

    def refresh(self) -> None:
        """Ask for the whole map; ``whole`` until it is there."""
        self.whole = True
        self.say(Refresh())

    def leave(self) -> None:
        """Leave the mesh for good."""
        self.say(Leave(logout=True))

    def _shake(self) -> None:
        try:
            self.socket.do_handshake()  # type: ignore[attr-defined]
        except ssl.SSLWantReadError:
            return
        self._shaking = False
        self._ask()

    def _ask(self) -> None:
        first = b64encode(self._session.outgoing()).decode()
        upgrade = f"Connection: Upgrade\r\nUpgrade: {messages.UPGRADE}\r\n{HANDSHAKE_HEADER}: {first}"
        self.socket.send(f"GET {messages.PATH} HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n\r\n".encode())

    def _read(self) -> bytes | None:
        """Empty at the end, None where nothing is there."""
        try:
            return self.socket.recv(READ)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except OSError:
            return b""

    def _take(self, data: bytes) -> None:
        if self._head is not None:
            head, end, data = (self._head + data).partition(END_OF_HEAD)
            self._head = head if not end else None
            if end and b" 101 " not in head:
                raise SystemExit(f"error: the server answered {head!r}")
        established = self._session.established
        for frame in self._session.receive(data) if data else ():
            self._hear(wire.decode(frame), len(frame) + wire.OVERHEAD)
        if self._session.established and not established:
            self.say(self._hello())

    def _hear(self, message: Any, size: int) -> None:
        if isinstance(message, wire.Map):
            self.mapped, self.member.cursor = True, _moved(self.member.cursor, message.cursor)
            if message.full:
                self.member.sees = len(message.nodes) - 1
        elif isinstance(message, wire.Welcome):
            self.welcomed, self.member.id = True, message.node.id
        elif isinstance(message, wire.Ping):
            self.say(Pong(number=message.number))
        self._heard(self, message, size)

    def ping(self, now: float) -> float:
        """Keep the stream alive where nothing was said for long; when to look again."""
        if self.welcomed and now - self.sent >= messages.KEEPALIVE:
            self.say(Ping())
        return self.sent + messages.KEEPALIVE if self.welcomed else now + messages.KEEPALIVE

    def _hello(self) -> Hello:
        member = self.member
        return Hello(
            protocol=messages.PROTOCOL,
            node_key=member.node.public(NodeKey),
            disco_key=member.disco,
            proof=self._session.prove(member.node),
            host=Host(hostname=member.name, os="linux", version="1"),
            cursor=member.cursor,
            credentials=None if member.id else Credentials("auth_key", member.secret),
        )


def _moved(held: Cursor | None, new: Cursor) -> Cursor:
    """As a node keeps it: view 0 is as before."""
    if held is None or new.view:
        return new
    return Cursor(new.revision, new.mark, new.clock, new.newest, held.view)


def _connected(address: str, server: Target) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.IPPROTO_IP, BIND_NO_PORT, 1)
    made.bind((address, 0))
    made.connect(("127.0.0.1", server.port))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setblocking(False)
    if server.tls is None:
        return made
    return server.tls.wrap_socket(made, do_handshake_on_connect=False)


def _key(kind: str, number: int) -> PrivateKey:
    return PrivateKey(blake2s(f"{kind} {number}".encode()).digest())
