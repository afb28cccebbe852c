"""Who may open a connection: strangers cost a bounded amount of work, and prove their address where many come at once.

A retry token (RFC 9000 section 8.1.2) is time(8) SCID(8) length(1) original DCID, then 16 bytes of HMAC-SHA256 over it
and the address; so nothing is kept for those who were asked to come again.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from enum import Enum

from ghostwire.engine import SECOND, Entropy
from ghostwire_transport_quic.header import CID_BYTES
from ghostwire_transport_quic.remote import Address

TOKEN_LIFE = 20 * SECOND
KNOWN = 1_024
"""How many neighbourhoods are remembered, and how many of them as the mesh's own."""
_MAC = 16


class Bucket:
    """A token bucket: ``rate`` a second, ``burst`` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst, self._level = rate, burst, burst
        self._at: int | None = None

    def take(self, now: int) -> bool:
        """Whether one more is allowed now."""
        passed = max(0, now - self._at) / SECOND if self._at is not None else 0.0
        self._level, self._at = min(self._burst, self._level + passed * self._rate), now
        if self._level < 1:
            return False
        self._level -= 1
        return True


class Verdict(Enum):
    """What to do with a stranger's first packet."""

    ACCEPT, RETRY, REFUSE = range(3)


class Admission:
    """Counts strangers. Those who did not prove their address have a small share that proven ones do not need."""

    def __init__(self, entropy: Entropy) -> None:
        self._key = entropy(32)
        self._unproven, self._proven = Bucket(16, 32), Bucket(40, 80)
        self._retries, self._answers = Bucket(500, 500), Bucket(50, 50)
        self._homes: OrderedDict[str, Bucket] = OrderedDict()
        self._friends: OrderedDict[str, None] = OrderedDict()

    def befriend(self, home: str) -> None:
        """Peers are in this neighbourhood: who comes from it needs no share of what all strangers have."""
        self._friends[home] = None
        self._friends.move_to_end(home)
        if len(self._friends) > KNOWN:
            self._friends.popitem(last=False)

    def judge(self, home: str, now: int, *, proven: bool, crowded: bool) -> Verdict:
        """``crowded``: many strangers are here."""
        friend = home in self._friends
        if proven:
            allowed = self._of(home).take(now) and (friend or self._proven.take(now))
            return Verdict.ACCEPT if allowed else Verdict.REFUSE
        if not crowded and self._unproven.take(now):
            return Verdict.ACCEPT
        asked = self._retries.take(now) or (friend and self._of(home).take(now))
        return Verdict.RETRY if asked else Verdict.REFUSE

    def may_answer(self, now: int) -> bool:
        """Whether one more packet of an unknown version is answered."""
        return self._answers.take(now)

    def token(self, address: Address, original: bytes, source: bytes, now: int) -> bytes:
        """For who sent an Initial to ``original`` and shall send the next to ``source``."""
        body = now.to_bytes(8, "big") + source + bytes([len(original)]) + original
        return body + self._mac(address, body)

    def original(self, address: Address, to: bytes, token: bytes, now: int) -> bytes | None:
        """The first DCID of who brings this token to ``to``; None where it is not ours, of another, or too old."""
        body, mac = token[:-_MAC], token[-_MAC:]
        if len(body) < 9 + CID_BYTES or not hmac.compare_digest(mac, self._mac(address, body)):
            return None
        age = now - int.from_bytes(body[:8], "big")
        return body[9 + CID_BYTES :] if body[8 : 8 + CID_BYTES] == to and 0 <= age <= TOKEN_LIFE else None

    def _mac(self, address: Address, body: bytes) -> bytes:
        place = f"{address[0]} {address[1]} ".encode()
        return hmac.digest(self._key, place + body, hashlib.sha256)[:_MAC]

    def _of(self, home: str) -> Bucket:
        bucket = self._homes.pop(home, None) or Bucket(5, 20)
        self._homes[home] = bucket
        if len(self._homes) > KNOWN:
            self._homes.popitem(last=False)
        return bucket
