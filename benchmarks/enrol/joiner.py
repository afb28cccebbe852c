"""A client that joins and leaves at once, with nothing between it and the server but the protocol."""

from __future__ import annotations

import asyncio
import os
import time
from urllib.parse import urlsplit

from ghostwire.keys import DiscoKey, NodeKey, PrivateKey
from ghostwire.wire import messages
from ghostwire.wire.jointoken import JoinToken
from ghostwire.wire.messages import Credentials, Hello, Host, Welcome
from ghostwire.wire.session import ControlSession


class Joiner:
    """Joins as ``count`` machines at most, one a call."""

    def __init__(self, token: JoinToken, count: int) -> None:
        parts = urlsplit(token.url)
        self.address = (parts.hostname, parts.port)
        self.token = token
        self.request = (
            f"GET {messages.PATH} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\n"
            f"Upgrade: {messages.UPGRADE}\r\n\r\n"
        ).encode()
        self.machines = [(PrivateKey.generate(), PrivateKey.generate()) for _ in range(count)]

    async def join(self) -> float:
        """Join as the next machine; the seconds until its Welcome."""
        loop = asyncio.get_running_loop()
        began = time.perf_counter()
        _, attempt = await loop.create_connection(lambda: _Attempt(self, *self.machines.pop()), *self.address)
        welcome = await attempt.done
        took = time.perf_counter() - began
        if not isinstance(welcome, Welcome):
            raise SystemExit(f"the server said: {welcome}")
        attempt.transport.abort()
        return took


class _Attempt(asyncio.Protocol):
    def __init__(self, joiner: Joiner, machine: PrivateKey, node: PrivateKey) -> None:
        self.joiner, self.node = joiner, node
        self.session = ControlSession.initiator(machine, joiner.token.control_key, os.urandom)
        self.done = asyncio.get_running_loop().create_future()
        self.head = b""
        self.upgraded = self.said = False

    def connection_made(self, transport) -> None:
        self.transport = transport
        transport.write(self.joiner.request)

    def data_received(self, data: bytes) -> None:
        if not self.upgraded:
            self.head += data
            if b"\r\n\r\n" not in self.head:
                return
            head, _, data = self.head.partition(b"\r\n\r\n")
            if b" 101 " not in head.partition(b"\r\n")[0]:
                self.done.set_result(head)
                return
            self.upgraded = True
            self.transport.write(self.session.outgoing())
        frames = self.session.receive(data) if data else []
        if self.session.established and not self.said:
            self.said = True
            self.session.send(messages.encode(self.hello()))
            self.transport.write(self.session.outgoing())
        for frame in frames:
            if not self.done.done():
                self.done.set_result(messages.decode_to_node(frame))

    def connection_lost(self, exc) -> None:
        if not self.done.done():
            self.done.set_result(f"nothing ({exc})")

    def hello(self) -> Hello:
        return Hello(
            protocol=messages.PROTOCOL,
            node_key=self.node.public(NodeKey),
            disco_key=DiscoKey(os.urandom(32)),
            proof=self.session.prove(self.node),
            host=Host(hostname=f"machine-{os.urandom(4).hex()}", os="linux", version="1"),
            credentials=Credentials(self.joiner.token.scheme, self.joiner.token.secret),
        )
