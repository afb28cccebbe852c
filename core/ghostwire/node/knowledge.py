"""What a node knows of its mesh: who it is, the network map, peers' last endpoints; kept in the map cache."""

from __future__ import annotations

import logging
from pathlib import Path

from ghostwire.errors import RemoteProtocolError
from ghostwire.keys import NodeKey
from ghostwire.model import MapChange, MapNode, NetworkMap
from ghostwire.node.cache import Cached, MapCache
from ghostwire.node.director import Endpoints
from ghostwire.node.identity import Identity
from ghostwire.node.reconciler import prefixes
from ghostwire.uplink.cache import LEISURE
from ghostwire.wire.messages import MAX_ENDPOINT_TEXT, MAX_ENDPOINTS, Welcome

AHEAD = 256
"""Peers of which the server may say where they are before the map names them."""


class Knowledge:
    """Loaded from the cache, then kept in step by the control session. ``network`` and ``endpoints`` stay the same
    objects, so that others may hold them."""

    def __init__(self, folder: Path, identity: Identity, log: logging.Logger) -> None:
        self._identity = identity
        self._cache = MapCache(folder / "map.cache", self._contents, log)
        self.network = NetworkMap()
        self.endpoints: dict[int, Endpoints] = {}
        self.welcome: Welcome | None = None

    @property
    def own(self) -> MapNode | None:
        """This node, once a Welcome said who it is; the map knows its newest name and addresses."""
        return None if self.welcome is None else self.network.nodes.get(self.welcome.node.id, self.welcome.node)

    @property
    def complete(self) -> bool:
        """Whether there is enough to run on: who the node is, and a map."""
        return self.welcome is not None and self.network.cursor is not None

    def load(self) -> None:
        """Take what the cache holds for the present server and node key."""
        membership = self._identity.membership
        cached = membership and self._cache.load_for(membership.control_key, self._identity.node_key.public(NodeKey))
        if cached:
            self.welcome = cached.welcome
            self.network.apply(cached.map)
            self.endpoints.update(cached.endpoints)

    def welcomed(self, welcome: Welcome) -> None:
        """The server said who this node is, which the map may not know yet (a new key, say).

        RemoteProtocolError where its addresses make no sense.
        """
        _check(welcome.node)
        self.welcome = welcome
        if welcome.node.id in self.network.nodes:
            self.network.nodes[welcome.node.id] = welcome.node
        self.touched()

    def changed(self, change: MapChange) -> MapChange:
        """Follow the map, and give the change as `NetworkMap.apply` does; RemoteProtocolError where this node's own
        addresses make no sense in it."""
        own = self.welcome.node.id if self.welcome is not None else None
        for node in change.nodes:
            if node.id == own:
                _check(node)
        change = self.network.apply(change)
        gone = self.endpoints.keys() - self.network.nodes.keys() if change.full else change.removed_nodes
        for peer in gone:
            self.endpoints.pop(peer, None)
        self.touched()
        return change

    def kept(self, peer: int, told: Endpoints) -> Endpoints:
        """Of the endpoints that the server tells of a peer those that are kept."""
        ahead = peer not in self.network.nodes and peer not in self.endpoints
        if ahead and len(self.endpoints) >= len(self.network.nodes) + AHEAD:
            return ()
        fitting = (each for each in told if max(len(each.transport), len(each.text)) <= MAX_ENDPOINT_TEXT)
        return tuple(fitting)[:MAX_ENDPOINTS]

    def touched(self) -> None:
        """Something changed: write the cache soon."""
        self._cache.changed()

    def moved(self) -> None:
        """Peers are elsewhere, which may be so again any time: write the cache some time."""
        self._cache.changed(within=LEISURE)

    def flush(self) -> None:
        """Write what waits, for the end of the program."""
        self._cache.flush()

    def forget(self) -> None:
        """Know nothing, on disk either."""
        self._cache.drop()
        self.welcome = None
        self.network.clear()
        self.endpoints.clear()

    def _contents(self) -> Cached | None:
        membership, whole = self._identity.membership, self.network.as_change()
        if membership is None or whole is None or self.welcome is None:
            return None
        return Cached(
            control_key=membership.control_key,
            node_key=self._identity.node_key.public(NodeKey),
            welcome=self.welcome,
            map=whole,
            endpoints=self.endpoints,
        )


def _check(own: MapNode) -> None:
    if not prefixes(own):
        raise RemoteProtocolError(f"the server gave this node malformed addresses: {', '.join(own.addresses)[:100]}")
