"""PCP (RFC 6887), version 2: MAP and ANNOUNCE requests, to and from UDP port 5351 of the router.

request  0 version · 1 opcode · 2-3 zero · 4-7 lifetime in seconds, 0 to release · 8-23 our address      24 bytes
answer   0 version · 1 opcode | 128 · 2 zero · 3 result · 4-7 lifetime · 8-11 epoch · 12-23 zero          24 bytes
MAP      24-35 nonce · 36 protocol (17 UDP) · 37-39 zero · 40-41 inside port · 42-43 outside port
         · 44-59 outside address; in a request the last two are wishes                                   36 bytes
ANNOUNCE has nothing more. Addresses are IPv6's or ::ffff:a.b.c.d. Options may follow and are skipped. A router of
NAT-PMP alone answers with version 0.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable
from hmac import compare_digest
from ipaddress import IPv6Address

from ghostwire.engine import SECOND
from ghostwire.node.portmap.asking import CONTROL_PORT, Asking
from ghostwire.node.portmap.granted import Granted, Wanted

VERSION = 2
ANNOUNCE, MAP = 0, 1
NONCE_BYTES = 12
_ANSWER = 128
_UDP = 17
_REQUEST = struct.Struct(">BBxxI16s")
_HEAD = struct.Struct(">BBxBII12x")
_BODY = struct.Struct(">12sB3xHH16s")
_ANY = IPv6Address("::ffff:0.0.0.0")

RESULTS = {
    1: "unsupported version",
    2: "not authorized",
    3: "malformed request",
    4: "unsupported opcode",
    5: "unsupported option",
    6: "malformed option",
    7: "the router has no network",
    8: "no more mappings",
    9: "UDP is not supported",
    10: "too many mappings of this machine",
    11: "the outside port cannot be had",
    12: "the request's address was changed on the way",
    13: "too many remote peers",
}


def announce_request(local: str) -> bytes:
    """Ask whether the router speaks PCP, and for its epoch."""
    return _REQUEST.pack(VERSION, ANNOUNCE, 0, _packed(local))


def map_request(local: str, wanted: Wanted, nonce: bytes) -> bytes:
    """Ask for a mapping to ``local``, this machine's address; one of no lifetime gives it back."""
    seconds = wanted.lifetime // SECOND
    head = _REQUEST.pack(VERSION, MAP, seconds, _packed(local))
    return head + _BODY.pack(nonce, _UDP, wanted.port, wanted.outside if seconds else 0, _ANY.packed)


def _packed(address: str) -> bytes:
    return IPv6Address(f"::ffff:{address}").packed


class Pcp(Asking):
    """Asks for a mapping where something is ``wanted``, else whether PCP is spoken.

    ``nonce`` names the mapping's owner: who does not know it can neither change the mapping nor answer for it.
    ``epoch`` is what the router told, None before.
    """

    def __init__(self, gateway: str, local: str, wanted: Wanted | None, nonce: bytes, now: int) -> None:
        requests: dict[Hashable, bytes] = {}
        if wanted is None:
            requests[ANNOUNCE] = announce_request(local)
        else:
            requests[MAP] = map_request(local, wanted, nonce)
        super().__init__((gateway, CONTROL_PORT), requests, now)
        self.epoch: int | None = None
        self.granted: Granted | None = None
        self._wanted, self._nonce = wanted, nonce

    def take(self, data: bytes, now: int) -> bool:
        """Use a datagram."""
        if len(data) >= 4 and data[0] != VERSION:
            self.trouble = RESULTS[1]
            return True
        if len(data) < _HEAD.size:
            return False
        _, opcode, result, lifetime, epoch = _HEAD.unpack_from(data)
        request = opcode ^ _ANSWER
        if request not in self._waiting or not self._ours(request, data[_HEAD.size :]):
            return False
        self.heard = result != 1
        if result:
            self.trouble = RESULTS.get(result, f"result {result}")
            return True
        self.epoch = epoch
        if request == MAP:
            self._take_mapping(data[_HEAD.size :], lifetime)
        self.answered(request)
        return True

    def _ours(self, request: int, body: bytes) -> bool:
        """Whether it answers our very request: nonce, protocol and inside port are repeated."""
        if request == ANNOUNCE:
            return True
        if len(body) < _BODY.size or self._wanted is None:
            return False
        nonce, protocol, inside, _, _ = _BODY.unpack_from(body)
        return compare_digest(nonce, self._nonce) and (protocol, inside) == (_UDP, self._wanted.port)

    def _take_mapping(self, body: bytes, lifetime: int) -> None:
        _, _, _, port, raw = _BODY.unpack_from(body)
        address = IPv6Address(raw).ipv4_mapped
        if port and lifetime:
            self.granted = Granted(str(address or ""), port, lifetime * SECOND, self.epoch)


def announced(data: bytes) -> tuple[int, str] | None:
    """The epoch in a router's unasked announcement, and no address; None where it is none."""
    if len(data) < _HEAD.size:
        return None
    version, opcode, result, _, epoch = _HEAD.unpack_from(data)
    return (epoch, "") if (version, opcode, result) == (VERSION, ANNOUNCE | _ANSWER, 0) else None
