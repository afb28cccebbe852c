"""The address plan: who gets which IPv4 address, and the IPv6 address that contains it.

An address has one holder at a time. New ones are given out in order; one that was released is given out again after
`REST`, the oldest first. The bookkeeping is three numbers in one setting, next IPv4 address and the head and tail of
the queue of released ones, so that giving one out costs the same however many there are.
"""

from __future__ import annotations

import ipaddress

from msgspec.structs import replace

from ghostwire.capabilities.storage import Transaction
from ghostwire.engine import Entropy
from ghostwire.errors import ConfigError, Conflict
from ghostwire.model import Node, ReleasedAddress

REST = 7 * 86400
"""Seconds an address rests between two holders."""
RESERVED = 2
"""The network's first addresses: its own and the server's."""

_SETTING, _PREFIX = "addresses", "ipv6"


class AddressPlan:
    """The ranges nodes get their addresses from; ConfigError where they can't serve."""

    def __init__(self, ipv4: str, ipv6: str) -> None:
        self.ipv4 = _network(ipv4, "server.ipv4", ipaddress.IPv4Network)
        self.ipv6 = _network(ipv6, "server.ipv6", ipaddress.IPv6Network)
        if self.ipv4.prefixlen > 29:
            raise ConfigError(f"{ipv4} is too small for a mesh; give at least a /29", key="server.ipv4")
        if self.ipv6.prefixlen > 96:
            raise ConfigError(f"{ipv6} has no room for IPv4 addresses; give at most a /96", key="server.ipv6")
        self._first = int(self.ipv4.network_address) + RESERVED
        self._last = int(self.ipv4.broadcast_address) - 1

    def take(self, transaction: Transaction, now: int) -> tuple[str, str]:
        """Addresses for a new node, IPv4 first; Conflict where none is free."""
        following, head, tail = _bookkeeping(transaction)
        rested, head = self._rested(transaction, head, tail, now)
        if rested is None:
            following = self._unused(transaction, following)
            rested, following = following, following + 1
        transaction.set_setting(_SETTING, f"{following},{head},{tail}")
        return self.pair(rested)

    def release(self, transaction: Transaction, node: Node, now: int) -> None:
        """Let a departing node's address rest."""
        following, head, tail = _bookkeeping(transaction)
        transaction.put(ReleasedAddress(id=tail, address=node.addresses[0], released=now))
        transaction.set_setting(_SETTING, f"{following},{head},{tail + 1}")

    def pass_over(self, transaction: Transaction, count: int, now: int) -> None:
        """Let the next addresses rest, so many or half of those that are left, and all that rest already anew: after a
        restore nobody knows to whom they were given."""
        following, head, tail = _bookkeeping(transaction)
        for resting in transaction.find(ReleasedAddress):
            transaction.put(replace(resting, released=now))
        first = following if self._first <= following <= self._last + 1 else self._first
        after = first + min(count, (self._last + 1 - first) // 2)
        for number in range(first, after):
            address = str(ipaddress.IPv4Address(number))
            transaction.put(ReleasedAddress(id=tail + number - first, address=address, released=now))
        transaction.set_setting(_SETTING, f"{after},{head},{tail + after - first}")

    def pair(self, ipv4: int) -> tuple[str, str]:
        """An IPv4 address as a number, as text and within the IPv6 prefix."""
        ipv6 = int(self.ipv6.network_address) | ipv4
        return str(ipaddress.IPv4Address(ipv4)), str(ipaddress.IPv6Address(ipv6))

    def _rested(self, transaction: Transaction, head: int, tail: int, now: int) -> tuple[int | None, int]:
        while head < tail:
            oldest = transaction.get(ReleasedAddress, head)
            if oldest is not None:
                if oldest.released + REST > now:
                    break
                transaction.delete(ReleasedAddress, head)
                number = int(ipaddress.IPv4Address(oldest.address))
                if self._first <= number <= self._last and not self._held(transaction, number):
                    return number, head + 1
            head += 1
        return None, head

    def _unused(self, transaction: Transaction, following: int) -> int:
        number = following if self._first <= following <= self._last + 1 else self._first
        while number <= self._last and self._held(transaction, number):
            number += 1
        if number > self._last:
            raise Conflict(f"no address is free in {self.ipv4}; widen ipv4 in [server] or remove nodes")
        return number

    def _held(self, transaction: Transaction, ipv4: int) -> bool:
        return bool(transaction.find(Node, addresses=self.pair(ipv4)))


def _bookkeeping(transaction: Transaction) -> tuple[int, int, int]:
    following, head, tail = (transaction.setting(_SETTING) or "0,1,1").split(",")
    return int(following), int(head), int(tail)


def _network(text: str, key: str, kind: type[ipaddress.IPv4Network] | type[ipaddress.IPv6Network]) -> _Network:
    try:
        return kind(text)
    except ValueError as error:
        raise ConfigError(f"not a network: {error}", key=key) from None


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def stored_prefix(transaction: Transaction, entropy: Entropy) -> str:
    """The mesh's own IPv6 network: a random /48 of fd00::/8, made at first start."""
    prefix = transaction.setting(_PREFIX)
    if prefix is None:
        network = ipaddress.IPv6Address(b"\xfd" + entropy(5) + bytes(10))
        prefix = f"{network}/48"
        transaction.set_setting(_PREFIX, prefix)
    return prefix
