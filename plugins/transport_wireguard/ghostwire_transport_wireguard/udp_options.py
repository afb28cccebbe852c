"""What the kernel does for a UDP socket: segmentation, joined reads, large buffers; and the sizes that bound these."""

from __future__ import annotations

import contextlib
import socket

UDP_SEGMENT = 103
"""Control message and option of linux/udp.h: u16, the size the kernel cuts one large send into."""
UDP_GRO = 104
"""Option and control message of linux/udp.h: int, the size of the datagrams the kernel joined in one read."""
SEGMENTS = 64
"""UDP_MAX_SEGMENTS of linux/udp.h on every kernel that has UDP_SEGMENT."""
JOINED_BYTES = 65_507
"""The largest UDP payload over IPv4, which bounds a joined send or read."""
LARGEST_DATAGRAM = 9_216
"""What no sealed packet of any sane link exceeds; larger ones are dropped and counted."""
SOCKET_BUFFER = 7 << 20

_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT = 10, 23, 0


def tune(target: socket.socket) -> None:
    """Large buffers, and datagrams that routers may fragment rather than lose."""
    for option, forced in ((socket.SO_SNDBUF, _SO_SNDBUFFORCE), (socket.SO_RCVBUF, _SO_RCVBUFFORCE)):
        try:
            target.setsockopt(socket.SOL_SOCKET, forced, SOCKET_BUFFER)
        except OSError:
            target.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
    level, name = (
        (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER)
        if target.family == socket.AF_INET6
        else (socket.IPPROTO_IP, _IP_MTU_DISCOVER)
    )
    with contextlib.suppress(OSError):
        target.setsockopt(level, name, _PMTUDISC_DONT)


def allows(target: socket.socket, option: int, value: int | None = None) -> bool:
    """Whether the kernel knows this UDP option; sets it where a value is given."""
    try:
        if value is not None:
            target.setsockopt(socket.IPPROTO_UDP, option, value)
        target.getsockopt(socket.IPPROTO_UDP, option)
    except OSError:
        return False
    return True
