"""The relay that runs in the server itself: whom it admits, what it announces, and with whom it meshes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ghostwire.capabilities.relaying import Load, Relaying, Siblings
from ghostwire.capabilities.storage import Commit
from ghostwire.keys import NodeKey, PrivateKey
from ghostwire.model import Node
from ghostwire.server.mesh import LiveMesh

BUDGET = 256 * 1024
"""Bytes relayed in one pass of the loop, about half a millisecond: the control plane is never kept waiting."""


class Embedded(Relaying):
    """Admits the mesh's nodes, and says at once whose key is no longer one of theirs."""

    budget = BUDGET

    def __init__(self, mesh: LiveMesh) -> None:
        self._mesh = mesh
        self.stun_port = 0
        self._keys: dict[int, NodeKey] = {}
        self._removed: list[Callable[[Sequence[NodeKey]], None]] = []
        self._changed: list[Callable[[], None]] = []
        self._siblings, self._load = Siblings(), lambda: Load(0, 0)

    def open(self, private_key: PrivateKey) -> None:
        """The mesh is open: follow it, and relay under this key."""
        self.private_key = private_key
        self._keys = {node.id: node.node_key for node in self._mesh.list(Node)}
        self._mesh.follow(self._committed)

    def admits(self, key: NodeKey) -> bool:
        """Whether this node belongs to the mesh, and its key has not expired."""
        return self._mesh.admits(key)

    def on_removed(self, removed: Callable[[Sequence[NodeKey]], None]) -> None:
        """Call this with keys that are admitted no longer."""
        self._removed.append(removed)

    @property
    def siblings(self) -> Siblings:
        """Whom to mesh with."""
        return self._siblings

    def on_siblings(self, changed: Callable[[], None]) -> None:
        """Call this whenever `siblings` has changed."""
        self._changed.append(changed)

    def announce(self, *, stun_port: int) -> None:
        """STUN is served on this UDP port."""
        self.stun_port = stun_port

    def measure(self, load: Callable[[], Load]) -> None:
        """Ask this for the load."""
        self._load = load

    def expired(self, node: Node) -> None:
        """This node's key has expired."""
        self._tell([node.node_key])

    def _committed(self, commit: Commit) -> None:
        gone = []
        for change in commit.changes:
            if change.kind is not Node:
                continue
            old = self._keys.pop(change.id, None)
            if isinstance(change.record, Node):
                self._keys[change.id] = change.record.node_key
            if old is not None and self._keys.get(change.id) != old:
                gone.append(old)
        self._tell(gone)

    def _tell(self, keys: Sequence[NodeKey]) -> None:
        if keys:
            for removed in self._removed:
                removed(keys)
