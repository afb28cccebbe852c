"""The node keys that relays may serve, and frames of what changed in them since any position.

A position counts changes. Who is further back than the changes that are remembered is told all keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ghostwire.capabilities.storage import Commit
from ghostwire.keys import NodeKey
from ghostwire.model import Node, pack
from ghostwire.server.pieces import Recency
from ghostwire.server.state import expired
from ghostwire.server.streams import Frame
from ghostwire.wire.messages import AdmittedKeys

REMEMBERED = 4096
"""Changes that are told one by one."""


class Admitted:
    """Keys of nodes in the mesh that have not expired; a source for `Streams`. ``now`` gives Unix seconds."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._of: dict[int, NodeKey] = {}
        self._keys: set[NodeKey] = set()
        self._changed: Recency[NodeKey] = Recency()
        self._oldest = 0
        self._removed: list[Callable[[Sequence[NodeKey]], None]] = []
        self.position = 0

    def on_removed(self, removed: Callable[[Sequence[NodeKey]], None]) -> None:
        """Call this at once with keys that are admitted no longer."""
        self._removed.append(removed)

    def load(self, nodes: Iterable[Node]) -> None:
        """Begin with these."""
        self._of = {node.id: node.node_key for node in nodes if not expired(node, self._now())}
        self._keys = set(self._of.values())

    def apply(self, commit: Commit) -> bool:
        """Take over one commit; whether any key came or went."""
        changes = [change for change in commit.changes if change.kind is Node]
        before = [self._of.pop(change.id, None) for change in changes]
        for change in changes:
            if isinstance(change.record, Node) and not expired(change.record, self._now()):
                self._of[change.id] = change.record.node_key
        after = [self._of.get(change.id) for change in changes]
        return self._replace({key for key in before if key}, {key for key in after if key})

    def expire(self, node: int) -> bool:
        """This node's key has expired; whether it was admitted until now."""
        key = self._of.pop(node, None)
        return key is not None and self._replace({key}, set())

    def frame(self, since: int | None) -> Frame[int]:
        """What changed since then; all keys where ``since`` is None or too long ago."""
        if since is None or since < self._oldest:
            return Frame(pack(AdmittedKeys(full=True, keys=tuple(self._keys))), self.position)
        changed = list(self._changed.since(since))
        keys = tuple(key for key in changed if key in self._keys)
        removed = tuple(key for key in changed if key not in self._keys)
        return Frame(pack(AdmittedKeys(keys=keys, removed=removed)) if changed else None, self.position)

    greeting = frame

    def _replace(self, before: set[NodeKey], after: set[NodeKey]) -> bool:
        self._keys -= before
        self._keys |= after
        for key in before ^ after:
            self.position += 1
            self._changed.touch(key, self.position)
        self._oldest = max(self._oldest, self._changed.trim(REMEMBERED))
        if gone := list(before - after):
            for removed in self._removed:
                removed(gone)
        return before != after
