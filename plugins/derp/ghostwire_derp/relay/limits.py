"""What clients and strangers may use of a relay."""

from __future__ import annotations

from dataclasses import dataclass

from ghostwire.engine import SECOND
from ghostwire_derp.frames import KEY_BYTES, MAX_DATA

MAX_PAYLOAD = 2 * KEY_BYTES + MAX_DATA
"""The largest frame that any client may send: a ForwardPacket."""
LEAST_BURST = KEY_BYTES + MAX_DATA
"""What a rate limit lets through at once at least: a largest packet with its destination."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Streams: at most ``total``, ``per_address`` (one /64 of IPv6), and of these not logged in ``unfinished*``.

    ``per_key`` is how many may be of one key. ``asides`` is how many frames that are no packets one read of a client
    may hold. Times are in nanoseconds, queues in bytes. ``queued`` is what all queues together may hold before each is
    cut to ``scarce_queue``. ``heard_by`` is how many are told of a client's going, ``all_heard_by`` what the clients
    share for that. ``logins`` is how many a second are worked on, and ``login_burst`` how many at once, so that a storm
    of them leaves time for passing frames on.
    """

    total: int = 65_536
    per_address: int = 8_192
    per_key: int = 32
    asides: int = 1_024
    unfinished: int = 1_024
    unfinished_per_address: int = 256
    login: int = 10 * SECOND
    logins: int = 2_000
    login_burst: int = 32
    keep_alive: int = 60 * SECOND
    jitter: int = 5 * SECOND
    write: int = 2 * SECOND
    relay_write: int = 30 * SECOND
    queue: int = 256 * 1024
    disco_queue: int = 32 * 1024
    control_queue: int = 64 * 1024
    relay_queue: int = 4 * 1024 * 1024
    relay_control_queue: int = 32 * 1024 * 1024
    queued: int = 32 * 1024 * 1024
    scarce_queue: int = 16 * 1024
    heard_by: int = 4_096
    all_heard_by: int = 1_000_000
