"""What arrives at a transport, told apart by its first bytes: to tunnel, netcheck and disco.

WireGuard   byte 0 is 1..4 and bytes 1-3 are zero (https://www.wireguard.com/protocol/)
STUN        bytes 4-7 are the magic cookie 0x2112A442 (RFC 8489 section 5)
disco       bytes 0-5 are "TS" and U+1F4AC in UTF-8 (Tailscale's disco)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ghostwire import Buffer, Metrics, Path, Receive

_DATA = 4
_WIREGUARD = frozenset(bytes((kind, 0, 0, 0)) for kind in (1, 2, 3, 4))
_STUN_COOKIE = b"\x21\x12\xa4\x42"
_DISCO_MAGIC = b"TS\xf0\x9f\x92\xac"


class Demux:
    """Takes every transport's bursts. A burst of WireGuard data alone, the common case, is passed on as it is.

    ``stun`` and ``disco`` take theirs one by one; what is no WireGuard is counted.
    """

    def __init__(
        self, tunnel: Receive, stun: Callable[[Path, Buffer], object], disco: Callable[[Path, Buffer], object]
    ) -> None:
        self._tunnel, self._take_stun, self._take_disco = tunnel, stun, disco
        self.stun = self.disco = self.unknown = 0

    def register(self, metrics: Metrics) -> None:
        """Register the counters of what did not go to the tunnel."""
        metrics.counter("ghostwire_node_stun_datagrams_total", "STUN datagrams received.", lambda: self.stun)
        metrics.counter("ghostwire_node_disco_datagrams_total", "Disco datagrams received.", lambda: self.disco)
        metrics.counter("ghostwire_node_unknown_datagrams_total", "Datagrams of no known kind.", lambda: self.unknown)

    def receive(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        """Pass on a burst, or its WireGuard datagrams."""
        try:
            for datagram in datagrams:
                if datagram[0] != _DATA:
                    break
            else:
                self._tunnel(source, datagrams)
                return
        except IndexError:
            pass
        self._sort(source, datagrams)

    def _sort(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        wireguard = [
            datagram for datagram in datagrams if bytes(datagram[:4]) in _WIREGUARD or self._other(source, datagram)
        ]
        if wireguard:
            self._tunnel(source, wireguard)

    def _other(self, source: Path, datagram: Buffer) -> bool:
        if bytes(datagram[:6]) == _DISCO_MAGIC:
            self.disco += 1
            self._take_disco(source, datagram)
        elif bytes(datagram[4:8]) == _STUN_COOKIE:
            self.stun += 1
            self._take_stun(source, datagram)
        else:
            self.unknown += 1
        return False
