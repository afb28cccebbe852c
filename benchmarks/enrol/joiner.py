"""Clients that join and leave at once, with nothing between them and the server but the protocol and epoll.

What a client costs is taken from the server where they share a machine, so this one is as lean as it can be.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections import deque
from urllib.parse import urlsplit

from ghostwire.keys import DiscoKey, NodeKey, PrivateKey
from ghostwire.wire import messages
from ghostwire.wire.jointoken import JoinToken
from ghostwire.wire.messages import Credentials, Hello, Host, Welcome
from ghostwire.wire.session import ControlSession

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that closes without TIME_WAIT, or ports run out."""
END_OF_HEAD = b"\r\n\r\n"


class Crowd:
    """As many machines as will ever join; their keys are made now, as a machine has them before it joins."""

    def __init__(self, token: JoinToken, count: int) -> None:
        parts = urlsplit(token.url)
        self.token, self.address = token, (parts.hostname, parts.port)
        upgrade = f"Connection: Upgrade\r\nUpgrade: {messages.UPGRADE}"
        self.request = f"GET {messages.PATH} HTTP/1.1\r\nHost: {parts.netloc}\r\n{upgrade}\r\n\r\n".encode()
        self.keys = [(PrivateKey.generate(), PrivateKey.generate()) for _ in range(count)]
        self._poll = select.epoll()
        self._attempts: dict[int, _Attempt] = {}
        self.latencies: list[float] = []

    def saturate(self, clients: int, seconds: float) -> None:
        """So many clients, each of whom joins again and again."""
        end = time.perf_counter() + seconds
        for _ in range(clients):
            self._begin(time.perf_counter())
        while self._attempts:
            for _ in range(self._serve(1.0)):
                if time.perf_counter() < end:
                    self._begin(time.perf_counter())

    def pace(self, clients: int, count: int, rate: float) -> None:
        """So many joins at this rate, ``clients`` at once at most; a late start counts as delay."""
        began = time.perf_counter()
        due = deque(began + number / rate for number in range(count))
        while due or self._attempts:
            while due and due[0] <= time.perf_counter() and len(self._attempts) < clients:
                self._begin(due.popleft())
            waits = due and len(self._attempts) < clients
            self._serve(max(0.0, due[0] - time.perf_counter()) if waits else 1.0)

    def _begin(self, since: float) -> None:
        attempt = _Attempt(self, *self.keys.pop(), since)
        self._attempts[attempt.socket.fileno()] = attempt
        self._poll.register(attempt.socket, select.EPOLLIN)

    def _serve(self, timeout: float) -> int:
        """Go on with whoever got an answer; how many are in."""
        ended = 0
        for descriptor, _ in self._poll.poll(timeout):
            attempt = self._attempts[descriptor]
            if attempt.advance():
                self.latencies.append(time.perf_counter() - attempt.since)
                del self._attempts[descriptor]
                attempt.socket.close()
                ended += 1
        return ended


class _Attempt:
    """One machine on its way in."""

    def __init__(self, crowd: Crowd, machine: PrivateKey, node: PrivateKey, since: float) -> None:
        self.since, self._crowd, self._node = since, crowd, node
        self._session = ControlSession.initiator(machine, crowd.token.control_key, os.urandom)
        self.socket = socket.create_connection(crowd.address)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.send(crowd.request)
        self._head: bytes | None = b""

    def advance(self) -> bool:
        """Read and answer; whether the machine is in."""
        data = self.socket.recv(65536)
        if not data:
            raise SystemExit("error: the server closed the connection")
        if self._head is not None:
            self._head += data
            if END_OF_HEAD not in self._head:
                return False
            if b" 101 " not in self._head:
                raise SystemExit(f"error: the server answered {self._head!r}")
            data, self._head = self._head.partition(END_OF_HEAD)[2], None
            self.socket.send(self._session.outgoing())
        return self._speak(data)

    def _speak(self, data: bytes) -> bool:
        established = self._session.established
        for frame in self._session.receive(data) if data else ():
            answer = messages.decode_to_node(frame)
            if not isinstance(answer, Welcome):
                raise SystemExit(f"error: the server said {answer}")
            return True
        if self._session.established and not established:
            self._session.send(messages.encode(self._hello()))
            self.socket.send(self._session.outgoing())
        return False

    def _hello(self) -> Hello:
        token = self._crowd.token
        return Hello(
            protocol=messages.PROTOCOL,
            node_key=self._node.public(NodeKey),
            disco_key=DiscoKey(os.urandom(32)),
            proof=self._session.prove(self._node),
            host=Host(hostname=f"machine-{os.urandom(4).hex()}", os="linux", version="1"),
            credentials=Credentials(token.scheme, token.secret),
        )
