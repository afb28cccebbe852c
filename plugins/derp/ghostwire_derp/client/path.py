"""The way to a peer through a relay, and its text: ``REGION/nodekey:HEX``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ghostwire import Buffer, Path, parse_relay_endpoint, relay_endpoint
from ghostwire.keys import NodeKey

Send = Callable[["DerpPath", Sequence[Buffer]], bool]


class DerpPath(Path):
    """A peer, wherever it is: paths are equal where the peer's key is, whatever region they name.

    ``region`` is where to look for the peer unless it was heard elsewhere; 0 where that is not known.
    """

    __slots__ = ("_hash", "_send", "endpoint", "peer", "region")
    transport = "derp"
    relayed = True

    def __init__(self, send: Send, region: int, peer: bytes, endpoint: str = "") -> None:
        self._send, self.region, self.peer = send, region, peer
        self._hash = hash(peer)
        self.endpoint = endpoint or relay_endpoint(region, NodeKey(peer))

    @classmethod
    def parse(cls, send: Send, endpoint: str) -> DerpPath:
        """From an endpoint's text; ValueError says what was expected."""
        region, peer = parse_relay_endpoint(endpoint)
        return cls(send, region, peer.raw, endpoint)

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        """Hand a burst to a relay now, or to what waits for one; False where any of it was dropped."""
        return self._send(self, datagrams)

    def __eq__(self, other: object) -> bool:
        return self is other or (type(other) is DerpPath and self.peer == other.peer)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"DerpPath({self.region}/{self.peer[:4].hex()})"
