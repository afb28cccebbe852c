"""A session's keypair: seals and opens bursts of transport data.

Transport data, 32 bytes and more: type(4) receiver(4) counter(8) sealed padded packet(n+16); n = 0 is a keepalive
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ghostwire import Buffer
from ghostwire_transport_wireguard.counters import Counters
from ghostwire_transport_wireguard.noise import TRANSPORT, SessionKeys
from ghostwire_transport_wireguard.replay import ReplayWindow
from ghostwire_transport_wireguard.timers import (
    LATE_REKEY_AFTER,
    NEVER,
    REJECT_AFTER,
    REJECT_AFTER_MESSAGES,
    REKEY_AFTER,
    REKEY_AFTER_MESSAGES,
)

if TYPE_CHECKING:
    from ghostwire_transport_wireguard.peer import Peer

HEADER_BYTES: Final = 16
OVERHEAD: Final = 32
"""What sealing adds to a padded packet: header and tag."""
PADDING: Final = 16
_HEADER: Final = struct.Struct("<IIQ").pack
_NONCE: Final = struct.Struct("<4xQ").pack
_KIND_RECEIVER_COUNTER: Final = struct.Struct("<QQ").unpack_from
_ZEROS: Final = tuple(bytes(count) for count in range(PADDING))


class Keypair:
    """The keys of one session with ``peer``, from its handshake until it is replaced, expired or wiped.

    ``index`` is ours and found in what we receive, ``remote`` theirs and written into what we send. Only the
    session's initiator renews it: 120 s after its birth when it sends, and once after 165 s when it receives.
    """

    __slots__ = (
        "_open",
        "_received",
        "_seal",
        "counter",
        "expires",
        "index",
        "late_renewal",
        "peer",
        "remote",
        "renewal",
        "window",
    )

    def __init__(self, peer: Peer, index: int, remote: int, keys: SessionKeys, now: int, *, initiator: bool) -> None:
        self.peer, self.index, self.remote = peer, index, remote
        self._received = index << 32 | TRANSPORT
        self._seal = ChaCha20Poly1305(keys.send).encrypt
        self._open = ChaCha20Poly1305(keys.receive).decrypt
        self.counter = 0
        self.window = ReplayWindow()
        self.expires = now + REJECT_AFTER
        self.renewal = now + REKEY_AFTER if initiator else NEVER
        self.late_renewal = now + LATE_REKEY_AFTER if initiator else NEVER

    def usable(self, now: int) -> bool:
        """Whether it may still seal."""
        return now < self.expires and self.counter < REJECT_AFTER_MESSAGES

    def due(self, now: int) -> bool:
        """Whether its sender should make a new session."""
        return now >= self.renewal or self.counter > REKEY_AFTER_MESSAGES

    def seal(self, packets: Sequence[Buffer], mtu: int) -> list[Buffer]:
        """One datagram for each packet, padded to 16 bytes but not above ``mtu``; an empty packet is a keepalive."""
        first, remote, seal = self.counter, self.remote, self._seal
        self.counter += len(packets)
        return [
            _HEADER(TRANSPORT, remote, counter)
            + seal(_NONCE(counter), packet if not len(packet) & 15 else _padded(packet, mtu), None)
            for counter, packet in enumerate(packets, first)
        ]

    def open(self, datagrams: Sequence[Buffer], start: int, counters: Counters) -> tuple[list[bytes], int]:
        """Open the datagrams from ``start`` on as long as they are this session's; also gives where they end.

        The padded packets of those that are authentic and new; the others are counted.
        """
        packets: list[bytes] = []
        forged = replayed = 0
        received, window, unseal = self._received, self.window, self._open
        for datagram in datagrams[start:] if start else datagrams:
            if len(datagram) < OVERHEAD:
                break
            head, counter = _KIND_RECEIVER_COUNTER(datagram)
            if head != received:
                break
            try:
                packet = unseal(_NONCE(counter), datagram[HEADER_BYTES:], None)
            except InvalidTag:
                forged += 1
                continue
            if counter == window.next:
                window.next = counter + 1
            elif counter >= REJECT_AFTER_MESSAGES or not window.accept(counter):
                replayed += 1
                continue
            packets.append(packet)
        counters.forged += forged
        counters.replayed += replayed
        return packets, start + len(packets) + forged + replayed


def _padded(packet: Buffer, mtu: int) -> bytes:
    size = len(packet)
    padding = -size & (PADDING - 1)
    if size + padding > mtu:
        padding = max(0, mtu - size)
    return b"".join((packet, _ZEROS[padding]))
