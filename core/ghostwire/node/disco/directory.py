"""Whose disco key it is, after the network map; each change of the map costs what changed."""

from __future__ import annotations

from ghostwire.keys import DiscoKey
from ghostwire.model import MapChange, NetworkMap


class Directory:
    """Disco keys to nodes, and back. A key that several nodes have (the server is wrong then) is nobody's; a node whose
    key is zeros speaks no disco."""

    def __init__(self, own: DiscoKey, network: NetworkMap) -> None:
        self._own, self._network = own, network
        self._keys: dict[int, DiscoKey] = {}
        self._holders: dict[DiscoKey, set[int]] = {}
        self.shared = 0
        """Keys that several nodes have."""

    def follow(self, change: MapChange | None) -> None:
        """The map changed so (None: all of it may be new)."""
        nodes = self._network.nodes.values() if change is None else change.nodes
        if change is None or change.full:
            gone = self._keys.keys() - {node.id for node in nodes}
        else:
            gone = set(change.removed_nodes)
        for id_ in gone:
            self._drop(id_)
        for node in nodes:
            if self._keys.get(node.id) != node.disco_key:
                self._drop(node.id)
                self._hold(node.id, node.disco_key)

    def peer(self, key: DiscoKey) -> int | None:
        """The one peer that has this key."""
        holders = self._holders.get(key, ())
        return next(iter(holders)) if len(holders) == 1 and key != self._own else None

    def key(self, peer: int) -> DiscoKey | None:
        """The key of this peer, if it has one of its own."""
        key = self._keys.get(peer)
        return key if key is not None and self.peer(key) == peer else None

    def is_shared(self, key: DiscoKey) -> bool:
        """Whether several nodes have this key."""
        return len(self._holders.get(key, ())) > 1

    def _hold(self, id_: int, key: DiscoKey) -> None:
        if not any(key.raw):
            return
        self._keys[id_] = key
        holders = self._holders.setdefault(key, set())
        holders.add(id_)
        self.shared += len(holders) == 2

    def _drop(self, id_: int) -> None:
        key = self._keys.pop(id_, None)
        if key is None:
            return
        left = self._holders[key]
        left.remove(id_)
        if not left:
            del self._holders[key]
        self.shared -= len(left) == 1
