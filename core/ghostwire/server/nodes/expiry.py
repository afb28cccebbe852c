"""Node keys that end at a set time: when it comes the node is out of everybody's sight, and its stream is closed.

Wall clocks jump: a key that ended by one that was ahead begins again, when its node comes or within an hour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ghostwire.capabilities.storage import Commit
from ghostwire.model import Node
from ghostwire.server.state import State, expired
from ghostwire.server.timers import LONGEST, Timers

Hook = Callable[[Node], None]


class Expiry:
    """``ended(node)`` is called for each node whose key has come to its end, ``begun(node)`` where it is good again;
    ``now`` gives Unix seconds."""

    def __init__(self, state: State, now: Callable[[], int], ended: Hook, begun: Hook) -> None:
        self._state, self._now, self._ended, self._begun = state, now, ended, begun
        self._over: set[int] = set()
        self._timers = Timers(self.look)

    def start(self, nodes: Iterable[Node]) -> None:
        """Watch these from now on; some may have come to their end while the server did not run."""
        for node in nodes:
            self.look(node.id)

    def apply(self, commit: Commit) -> None:
        """Take over one commit."""
        for change in commit.changes:
            if isinstance(change.record, Node):
                self.look(change.id)
            elif change.kind is Node:
                self._timers.cancel(change.id)
                self._over.discard(change.id)

    def close(self) -> None:
        """Watch nobody any more."""
        self._timers.close()

    def look(self, id_: int) -> None:
        """See whether this node's key is good now."""
        node = self._state.get(Node, id_)
        if node is None:
            return
        over = expired(node, self._now())
        self._watch(node, over)
        if over and id_ not in self._over:
            self._over.add(id_)
            self._ended(node)
        elif not over and id_ in self._over:
            self._over.discard(id_)
            self._begun(node)

    def _watch(self, node: Node, over: bool) -> None:
        if node.expires is None:
            self._timers.cancel(node.id)
        else:
            self._timers.arm(node.id, LONGEST if over else node.expires - self._now())
