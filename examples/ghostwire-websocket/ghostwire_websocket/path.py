"""The way to one node, by its endpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ghostwire import Buffer, Path
from ghostwire_websocket.endpoint import Endpoint

Send = Callable[[Endpoint, Sequence[Buffer]], bool]


class WebSocketPath(Path):
    """Equal to every other path to the same endpoint, whichever end dialled."""

    __slots__ = ("_send", "endpoint", "target")
    transport = "websocket"
    relayed = False

    def __init__(self, target: Endpoint, send: Send) -> None:
        self.target, self._send = target, send
        self.endpoint = str(target)

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        """Send over the connection, or begin one; False where anything was dropped."""
        return self._send(self.target, datagrams)

    def __eq__(self, other: object) -> bool:
        return self is other or (type(other) is WebSocketPath and self.endpoint == other.endpoint)

    def __hash__(self) -> int:
        return hash(self.endpoint)

    def __repr__(self) -> str:
        return f"WebSocketPath({self.endpoint[:-56]})"
