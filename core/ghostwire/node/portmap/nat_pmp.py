"""NAT-PMP (RFC 6886), version 0: two requests, two answers, to and from UDP port 5351 of the router.

request  address  0 version · 1 opcode 0                                                              2 bytes
         map      0 version · 1 opcode 1 (UDP) · 2-3 zero · 4-5 inside port · 6-7 outside port wished
                  · 8-11 lifetime in seconds, 0 to release                                            12 bytes
answer   address  0 version · 1 opcode | 128 · 2-3 result · 4-7 epoch in seconds · 8-11 address       12 bytes
         map      0 version · 1 opcode | 128 · 2-3 result · 4-7 epoch · 8-9 inside port
                  · 10-11 outside port · 12-15 lifetime                                               16 bytes
Answers that tell of an error may be cut after the epoch. A router of PCP alone answers with its own version.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable
from ipaddress import IPv4Address

from ghostwire.engine import SECOND
from ghostwire.node.portmap.asking import CONTROL_PORT, Asking
from ghostwire.node.portmap.granted import Granted, Wanted

VERSION = 0
ADDRESS, MAP_UDP = 0, 1
_ANSWER = 128
_MAP = struct.Struct(">BBxxHHI")
_HEAD = struct.Struct(">BBHI")
_MAPPED = struct.Struct(">HHI")

RESULTS = {
    1: "unsupported version",
    2: "not authorized",
    3: "the router has no outside address",
    4: "no more mappings",
    5: "unsupported opcode",
}


def address_request() -> bytes:
    """Ask for the outside address."""
    return bytes((VERSION, ADDRESS))


def map_request(wanted: Wanted) -> bytes:
    """Ask for a mapping; one of no lifetime gives it back."""
    seconds = wanted.lifetime // SECOND
    return _MAP.pack(VERSION, MAP_UDP, wanted.port, wanted.outside if seconds else 0, seconds)


class NatPmp(Asking):
    """Asks for the outside address and, where something is ``wanted``, for a mapping.

    ``address`` and ``epoch`` are what the router told, empty and None before.
    """

    def __init__(self, gateway: str, wanted: Wanted | None, now: int) -> None:
        requests: dict[Hashable, bytes] = {}
        if wanted is None or wanted.lifetime:
            requests[ADDRESS] = address_request()
        if wanted is not None:
            requests[MAP_UDP] = map_request(wanted)
        super().__init__((gateway, CONTROL_PORT), requests, now)
        self.address = ""
        self.epoch: int | None = None
        self._wanted = wanted
        self._mapped = (0, 0)

    @property
    def granted(self) -> Granted | None:
        """The mapping, once all is answered."""
        port, lifetime = self._mapped
        if self.trouble or not self.done or not port or not lifetime:
            return None
        return Granted(self.address, port, lifetime * SECOND, self.epoch)

    def take(self, data: bytes, now: int) -> bool:
        """Use a datagram."""
        if len(data) < _HEAD.size:
            return False
        version, opcode, result, epoch = _HEAD.unpack_from(data)
        if version != VERSION:
            self.trouble = RESULTS[1]
            return True
        request = opcode ^ _ANSWER
        if request not in self._waiting:
            return False
        if result:
            return self._refused(result)
        return self._answer(request, data[_HEAD.size :], epoch)

    def _refused(self, result: int) -> bool:
        self.heard = result != 1
        self.trouble = RESULTS.get(result, f"result {result}")
        return True

    def _answer(self, request: int, body: bytes, epoch: int) -> bool:
        if request == ADDRESS:
            if len(body) < 4:
                return False
            self.address = str(IPv4Address(body[:4]))
        elif not self._take_mapping(body):
            return False
        self.heard, self.epoch = True, epoch
        self.answered(request)
        return True

    def _take_mapping(self, body: bytes) -> bool:
        """A mapping of another port is an answer to somebody else."""
        if len(body) < _MAPPED.size or self._wanted is None:
            return False
        inside, port, lifetime = _MAPPED.unpack_from(body)
        if inside != self._wanted.port:
            return False
        self._mapped = port, lifetime
        return True


def announced(data: bytes) -> tuple[int, str] | None:
    """Epoch and outside address in a router's unasked announcement; None where it is none."""
    if len(data) < _HEAD.size + 4:
        return None
    version, opcode, result, epoch = _HEAD.unpack_from(data)
    if (version, opcode, result) != (VERSION, ADDRESS | _ANSWER, 0):
        return None
    return epoch, str(IPv4Address(data[_HEAD.size : _HEAD.size + 4]))
