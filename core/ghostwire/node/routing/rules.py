"""Which routes this node does not use, whoever offers them."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address

import msgspec

from ghostwire.wire.prefixes import Prefix, is_default, unroutable

Address = IPv4Address | IPv6Address


class Rules(msgspec.Struct, frozen=True):
    """What a route must not lead to; default routes are another matter.

    ``mesh`` are the mesh's prefixes, ``guarded`` the addresses that this node needs for the mesh itself, with what
    lives there, ``own`` the networks that this machine is on itself, and its own addresses; ``offered`` are the
    prefixes that it is a router of.
    """

    mesh: tuple[Prefix, ...] = ()
    guarded: Mapping[Address, str] = {}
    own: tuple[Prefix, ...] = ()
    offered: frozenset[Prefix] = frozenset()

    def refusal(self, prefix: Prefix) -> str:
        """Why a route to this prefix is not used; empty where it may be."""
        if is_default(prefix):
            return ""
        if prefix in self.offered:
            return "this node is a router of it itself"
        return unroutable(prefix) or within_mesh(prefix, self.mesh) or self._covers(prefix)

    def _covers(self, prefix: Prefix) -> str:
        for address, what in self.guarded.items():
            if address in prefix:
                return f"it holds {address}, {what}"
        own = next((network for network in self.own if _within(prefix, network)), None)
        return f"this machine is on {own} itself" if own is not None else ""


def within_mesh(prefix: Prefix, mesh: tuple[Prefix, ...]) -> str:
    """Why a prefix within the mesh's own is no route; empty where it lies elsewhere."""
    inside = next((each for each in mesh if _within(prefix, each)), None)
    return f"it lies in the mesh's own {inside}" if inside is not None else ""


def _within(prefix: Prefix, other: Prefix) -> bool:
    return prefix.version == other.version and prefix.subnet_of(other)  # type: ignore[arg-type]
