"""An engine of routes with its map, its clock and what is to be seen of its peers."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from typing import Any

import pytest

from ghostwire.engine import SECOND
from ghostwire.keys import DiscoKey, NodeKey
from ghostwire.model import Cursor, MapChange, MapNode, MapRoute, NetworkMap
from ghostwire.node.routing.health import Signs
from ghostwire.node.routing.router import Router

OWN = 1


def node(id_: int) -> MapNode:
    return MapNode(
        id=id_,
        stable_id=f"s{id_}",
        name=f"n{id_}",
        node_key=NodeKey(bytes([id_] * 32)),
        disco_key=DiscoKey(bytes([id_] * 32)),
        addresses=(f"100.64.0.{id_}", f"fd00::{id_}"),
        user=1,
    )


class World:
    """Peers 2.. of node 1; ``signs`` are what the tunnel tells, ``answers`` the routers that answer when asked."""

    def __init__(self, nodes: Iterable[int] = (1, 2, 3, 4)) -> None:
        self.now = 1_000 * SECOND
        self.network = NetworkMap()
        self.signs: dict[int, Signs] = {}
        self.answers: set[int] = set()
        self.asked: list[tuple[int, int]] = []
        self.router = Router(self.network, lambda peer: self.signs.get(peer, Signs()))
        self.changed: set[int] = set()
        self.tell(full=True, nodes=tuple(node(id_) for id_ in nodes))

    def tell(self, **change: Any) -> None:
        """The map changes."""
        told = MapChange(cursor=Cursor(1, b"m"), **change)
        self.network.apply(told)
        self.router.follow(told, OWN, self.now)
        self.settle()

    def route(self, id_: int, prefix: str, router: int, *, down: bool = False) -> None:
        self.tell(routes=(MapRoute(id=id_, prefix=prefix, router=router, down=down),))

    def settle(self) -> None:
        changed, probes = self.router.drain()
        self.changed |= changed
        for peer, _ in probes:
            self.asked.append((self.now // SECOND, peer))
            if peer in self.answers:
                self.heard(peer)

    def heard(self, peer: int) -> None:
        """Something authentic comes from this peer, a moment after."""
        self.see(peer, unanswered=0, heard=self.now + 1)

    def see(self, peer: int, **signs: Any) -> None:
        self.signs[peer] = self.signs.get(peer, Signs())._replace(**signs)

    def sends(self, peer: int) -> None:
        """Data goes to this peer from now on, which waits for an answer."""
        self.see(peer, asleep=False, unanswered=self.now)
        self.router.awake(peer, self.now)

    def run(self, seconds: float) -> None:
        """Let time pass, from deadline to deadline."""
        until = self.now + int(seconds * SECOND)
        for _ in range(100_000):
            due = self.router.deadline()
            if due is None or due > until:
                break
            self.now = max(self.now, due)
            self.router.advance(self.now)
            self.settle()
        else:
            raise AssertionError("the engine is due without end")
        self.now = until

    def via(self, prefix: str) -> int | None:
        offer = self.router.chosen(ip_network(prefix))
        return offer.router if offer is not None else None


@pytest.fixture
def world() -> World:
    return World()
