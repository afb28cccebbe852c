"""One WebSocket connection without I/O: the handshakes, then messages; and when it is dead or idle.

+------------------------------------------------------------------------------------------------+
| `receive`, `send` or `advance`, then write what `outgoing` gives, then ask for the `deadline`.   |
+------------------------------------------------------------------------------------------------+
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import WebSocketURI

from ghostwire import Buffer
from ghostwire.engine import SECOND, Entropy
from ghostwire.errors import GhostwireError, RemoteProtocolError, Unavailable
from ghostwire_websocket import messages
from ghostwire_websocket.endpoint import Endpoint, Url
from ghostwire_websocket.identity import Identity

HANDSHAKE = 10 * SECOND
"""From the first byte to the last proof."""
STRANGER = 16 * 1024
"""Bytes that one may send before his proof."""
KEEPALIVE = 20 * SECOND
"""How often a connection is pinged, as long as a datagram moved within `LATELY`."""
LATELY = 60 * SECOND
ANSWER = 10 * SECOND
"""After a ping that nothing followed the connection is dead."""
IDLE = 180 * SECOND
"""Without a datagram for so long, the connection ends."""

_QUIET = logging.getLogger("ghostwire_websocket.frames")
_QUIET.disabled = True


class Session(ABC):
    """What both ends share. ``peer`` is who is there, once that is proven; ``failure`` why it is over."""

    def __init__(self, frames: ClientProtocol | ServerProtocol, now: int) -> None:
        self._frames = frames
        self.peer: Endpoint | None = None
        self.failure: GhostwireError | None = None
        self.moved = self.heard = self._asked = self.began = now
        self._strange = 0

    def receive(self, data: bytes, now: int) -> list[memoryview]:
        """What arrived; the datagrams in it. RemoteProtocolError and Unavailable end the connection."""
        self.heard = now
        if self.peer is None:
            self._strange += len(data)
        self._frames.receive_data(data)
        found = list[memoryview]()
        for event in self._frames.events_received():
            if isinstance(event, Frame):
                found += self._frame(event)
            else:
                self._head(event)
        if self.peer is None and self._strange > STRANGER:
            raise RemoteProtocolError("too much before a proof")
        if self._frames.state is not State.OPEN and (self._frames.parser_exc or self._frames.eof_sent):
            raise RemoteProtocolError(str(self._frames.parser_exc or self._frames.handshake_exc or "it ended"))
        if found:
            self.moved = now
        return found

    def send(self, datagrams: Sequence[Buffer], now: int) -> None:
        """Datagrams of at most `messages.MAX_DATAGRAM` bytes, once ``peer`` is there."""
        self.moved = now
        for message in messages.messages(datagrams):
            self._frames.send_binary(message)

    def leave(self) -> None:
        """Say goodbye."""
        if self._frames.state is State.OPEN:
            self._frames.send_close(1001)

    def outgoing(self) -> bytes:
        """What to write."""
        return b"".join(self._frames.data_to_send())

    def deadline(self) -> int | None:
        """When `advance` is due."""
        if self.peer is None:
            return self.began + HANDSHAKE
        if self._asked > self.heard:
            return self._asked + ANSWER
        asking = max(self._asked, self.began) + KEEPALIVE
        return asking if asking <= self.moved + LATELY else self.moved + IDLE

    def advance(self, now: int) -> None:
        """Ping, or set ``failure``."""
        due = self.deadline()
        if due is None or now < due or self.failure is not None:
            return
        if self.peer is None:
            self.failure = Unavailable("the handshake took too long")
        elif self._asked > self.heard:
            self.failure = Unavailable("nothing comes back")
        elif now >= self.moved + IDLE:
            self.failure = Unavailable("idle")
        else:
            self._asked = now
            if self._frames.state is State.OPEN:
                self._frames.send_ping(b"")

    def _frame(self, frame: Frame) -> list[memoryview]:
        if frame.opcode is Opcode.PING or frame.opcode is Opcode.PONG:
            return []
        if frame.opcode is Opcode.CLOSE:
            raise Unavailable("the other end closed the connection")
        if frame.opcode is not Opcode.BINARY or not frame.fin or not frame.data:
            raise RemoteProtocolError("a message that is text, empty or in pieces")
        body = memoryview(frame.data)
        if body[0] == messages.DATAGRAMS and self.peer is not None:
            return messages.parse_datagrams(body[1:])
        self._message(body[0], body[1:])
        return []

    @abstractmethod
    def _head(self, head: Request | Response) -> None:
        """The HTTP head of the other end arrived."""

    @abstractmethod
    def _message(self, kind: int, body: memoryview) -> None:
        """A message of the handshake arrived; RemoteProtocolError where it is none, or out of turn."""


class Dialling(Session):
    """The end that dialled ``target``, in the name of ``own`` (an endpoint without URL where it cannot be dialled)."""

    def __init__(self, target: Endpoint, url: Url, own: Endpoint, key: Identity, entropy: Entropy, now: int) -> None:
        uri = WebSocketURI(url.tls, url.host, url.port, url.path, "", None, None)
        self._client = ClientProtocol(uri, max_size=messages.MAX_MESSAGE, logger=_QUIET)
        super().__init__(self._client, now)
        self._target, self._own, self._key = target, own, key
        self._nonce, self._challenged = entropy(messages.NONCE_BYTES), b""
        self._client.send_request(self._client.connect())

    def _head(self, head: Request | Response) -> None:
        if isinstance(head, Response) and head.status_code != 101:
            raise Unavailable(f"the web server answers {head.status_code}")

    def _message(self, kind: int, body: memoryview) -> None:
        if kind == messages.CHALLENGE and not self._challenged:
            self._challenged = messages.parse_challenge(body)
            said = messages.introduction(self._nonce, self._key, self._own, self._challenged, self._target)
            self._client.send_binary(said)
        elif kind == messages.PROOF and self._challenged and self.peer is None:
            messages.check_proof(body, self._challenged, self._nonce, self._target, self._own)
            self.peer = self._target
        else:
            raise RemoteProtocolError(f"a message {kind} out of turn")


class Accepting(Session):
    """The end that was dialled, as ``own``."""

    def __init__(self, own: Endpoint, key: Identity, entropy: Entropy, now: int) -> None:
        self._server = ServerProtocol(max_size=messages.MAX_MESSAGE, logger=_QUIET)
        super().__init__(self._server, now)
        self._own, self._key = own, key
        self._challenge = entropy(messages.NONCE_BYTES)

    def _head(self, head: Request | Response) -> None:
        assert isinstance(head, Request)
        assert self._own.url is not None
        if head.path != self._own.url.path:
            self._server.send_response(self._server.reject(404, "Not found.\n"))
            raise RemoteProtocolError("a request for another path")
        response = self._server.accept(head)
        self._server.send_response(response)
        if response.status_code != 101:
            raise RemoteProtocolError("a request that is no WebSocket's")
        self._server.send_binary(messages.challenge(self._challenge))

    def _message(self, kind: int, body: memoryview) -> None:
        if kind != messages.INTRODUCTION or self.peer is not None:
            raise RemoteProtocolError(f"a message {kind} out of turn")
        nonce, peer = messages.parse_introduction(body, self._challenge, self._own)
        self._server.send_binary(messages.proof(self._key, self._challenge, nonce, self._own, peer))
        self.peer = peer
