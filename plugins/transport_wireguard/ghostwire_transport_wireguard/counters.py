"""What a tunnel did and dropped, as plain ints that the packet path adds to."""

from __future__ import annotations

from functools import partial
from typing import Final

from ghostwire import Metrics

DROPS: Final = {
    "malformed": "Datagrams that are no WireGuard message.",
    "unknown_session": "Datagrams for a session or handshake this node does not have.",
    "forged": "Transport datagrams that do not open.",
    "replayed": "Transport datagrams seen before or too old.",
    "expired": "Transport datagrams of a session older than 180 s.",
    "bad_packet": "Packets, from the device or opened, that are no IP packet of a fitting length.",
    "bad_source": "Opened packets whose source address is not the peer's.",
    "filtered": "Opened packets the filter did not admit.",
    "device_full": "Packets the device did not take.",
    "no_peer": "Packets from the device to an address no peer has.",
    "oversized": "Packets from the device above its MTU.",
    "no_session": "Packets that waited for a handshake in vain.",
    "no_path": "Datagrams for a peer without any path.",
    "path_full": "Bursts of which a path dropped a part.",
    "queue_full": "Handshake messages above the 64 that may wait.",
    "bad_mac": "Handshake messages whose sender does not know this node's key.",
    "bad_handshake": "Handshake messages that are forged, replayed or of no peer.",
    "limited": "Handshake messages above the rate of their source or peer.",
}
"""Reasons for drops, and what each means."""

WORK: Final = {
    "sent_packets": "Packets sealed for peers.",
    "received_packets": "Packets opened and given to the device.",
    "initiations": "Handshake initiations sent.",
    "handshakes": "Handshakes completed, either side.",
    "cookies": "Cookie replies sent.",
    "shown": "Handshake messages sent again with the cookie that was asked for.",
    "computed": "Handshake messages on which a key exchange was computed.",
}


class Counters:
    """One int for each reason in `DROPS` and each kind of work in `WORK`."""

    __slots__ = (*DROPS, *WORK)
    malformed: int
    unknown_session: int
    forged: int
    replayed: int
    expired: int
    bad_packet: int
    bad_source: int
    filtered: int
    device_full: int
    no_peer: int
    oversized: int
    no_session: int
    no_path: int
    path_full: int
    queue_full: int
    bad_mac: int
    bad_handshake: int
    limited: int
    sent_packets: int
    received_packets: int
    initiations: int
    handshakes: int
    cookies: int
    shown: int
    computed: int

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)

    def register(self, metrics: Metrics) -> None:
        """List them as ``ghostwire_tunnel_<work>_total`` and ``ghostwire_tunnel_dropped_<reason>_total``."""
        for name, help_ in WORK.items():
            metrics.counter(f"ghostwire_tunnel_{name}_total", help_, partial(getattr, self, name))
        for name, help_ in DROPS.items():
            metrics.counter(f"ghostwire_tunnel_dropped_{name}_total", help_, partial(getattr, self, name))
