"""Sees when WireGuard's data reaches a member, and from whom: which way packets really go, whatever nodes say."""

from __future__ import annotations

import socket
import time
from ipaddress import ip_address

from natlab import Lab
from netns import in_netns

ETH_P_ALL = 0x0003
PACKET_HOST = 0
_UDP, _DATA = 17, b"\x04\x00\x00\x00"


class Tap:
    """Listens on a member's link; `read` is to be called whenever its socket can be read."""

    def __init__(self, lab: Lab, member: str, interface: str = "eth0") -> None:
        with in_netns(lab.ns(member)):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
            self.socket.bind((interface, ETH_P_ALL))
        self.socket.setblocking(False)
        self.first: dict[str, float] = {}
        """Source address -> when its first data arrived, by the monotonic clock."""

    def read(self) -> None:
        """Take what has arrived."""
        while True:
            try:
                packet, (_, _, kind, *_) = self.socket.recvfrom(128)
            except BlockingIOError:
                return
            source = carried_from(packet) if kind == PACKET_HOST else None
            if source is not None:
                self.first.setdefault(source, time.monotonic())

    def close(self) -> None:
        self.socket.close()


def carried_from(packet: bytes) -> str | None:
    """The source of an IP packet that has WireGuard data in UDP; None for all others."""
    if packet[0] >> 4 == 4:
        source, protocol, begins = packet[12:16], packet[9], (packet[0] & 15) * 4
    else:
        source, protocol, begins = packet[8:24], packet[6], 40
    if protocol != _UDP or packet[begins + 8 : begins + 12] != _DATA:
        return None
    return str(ip_address(source))
