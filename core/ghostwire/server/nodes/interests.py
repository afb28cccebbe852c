"""Who wants to reach whom, as each server was told: a node's wishes are void with the stream on which it said them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Hashable)

MAX_INTERESTS = 1024
"""Interests of one node at a time; the oldest makes room."""
HERE = ""
"""In place of a server's id: this one."""


class Interests:
    """Peers by node and server, and the other way round."""

    def __init__(self) -> None:
        self._wants: dict[tuple[str, int], dict[int, None]] = {}
        self._servers: defaultdict[int, set[str]] = defaultdict(set)
        self._wanted_by: defaultdict[int, set[tuple[str, int]]] = defaultdict(set)

    def of(self, node: int, server: str = HERE) -> Sequence[int]:
        """The peers that the node wants, as it said to that server, the oldest wish first."""
        return tuple(self._wants.get((server, node), ()))

    def about(self, node: int) -> set[int]:
        """The peers that it wants, and those that want it."""
        wanting = {other for _, other in self._wanted_by.get(node, ())}
        return wanting.union(*(self._wants[server, node] for server in self._servers.get(node, ())))

    def want(self, node: int, peer: int) -> None:
        """It wants that peer, as it says to this server."""
        held = self._wants.get((HERE, node), {})
        if len(held) >= MAX_INTERESTS and peer not in held:
            self.drop(HERE, node, next(iter(held)))
        self._add(HERE, node, peer)

    def replace(self, server: str, node: int, peers: Iterable[int]) -> set[int]:
        """These are all that it wants, as that server says; those that are new."""
        wanted, held = set(peers), set(self._wants.get((server, node), ()))
        for peer in held - wanted:
            self.drop(server, node, peer)
        for peer in wanted - held:
            self._add(server, node, peer)
        return wanted - held

    def drop(self, server: str, node: int, peer: int) -> None:
        """It wants that one no longer; harmless where it did not."""
        held = self._wants.get((server, node))
        if held is None or peer not in held:
            return
        del held[peer]
        if not held:
            del self._wants[server, node]
            _discard(self._servers, node, server)
        _discard(self._wanted_by, peer, (server, node))

    def clear(self, node: int) -> None:
        """The node is no more: nobody wants it, nor it anybody."""
        for server in list(self._servers.get(node, ())):
            self.replace(server, node, ())
        for server, other in list(self._wanted_by.get(node, ())):
            self.drop(server, other, node)

    def _add(self, server: str, node: int, peer: int) -> None:
        self._wants.setdefault((server, node), {})[peer] = None
        self._servers[node].add(server)
        self._wanted_by[peer].add((server, node))


def _discard(held: defaultdict[K, set[V]], key: K, member: V) -> None:
    held[key].discard(member)
    if not held[key]:
        del held[key]
