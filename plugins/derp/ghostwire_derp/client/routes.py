"""Where peers were last heard: a reply goes back that way, whatever home a peer advertises."""

from __future__ import annotations

from ghostwire_derp.client.path import DerpPath, Send

KNOWN_PEERS = 4096
"""The most peers remembered; the one learned first goes first."""


class Routes:
    """The path to every peer that was heard, over the region it was heard in."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._heard: dict[bytes, DerpPath] = {}

    def heard(self, peer: bytes, region: int) -> DerpPath:
        """A burst came from this peer: the path back."""
        path = self._heard.get(peer)
        if path is None or path.region != region:
            self._heard.pop(peer, None)
            if len(self._heard) >= KNOWN_PEERS:
                del self._heard[next(iter(self._heard))]
            path = self._heard[peer] = DerpPath(self._send, region, peer)
        return path

    def region(self, peer: bytes) -> int | None:
        """Where this peer was last heard; None where it was not, or that is over."""
        path = self._heard.get(peer)
        return None if path is None else path.region

    def gone(self, peer: bytes, region: int) -> None:
        """A relay of this region has not got the peer."""
        if self.region(peer) == region:
            del self._heard[peer]

    def lost(self, region: int) -> None:
        """The connection that peers of this region were heard over is gone."""
        self._heard = {peer: path for peer, path in self._heard.items() if path.region != region}

    def clear(self) -> None:
        """Forget everybody."""
        self._heard.clear()
