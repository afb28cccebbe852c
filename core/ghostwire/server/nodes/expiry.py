"""Node keys that end at a set time: when it comes the node is out of everybody's sight, and its stream is closed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ghostwire.capabilities.storage import Commit
from ghostwire.model import Node
from ghostwire.server.state import State, expired
from ghostwire.server.timers import Timers


class Expiry:
    """``ended(node)`` is called for each node whose key has come to its end; ``now`` gives Unix seconds."""

    def __init__(self, state: State, now: Callable[[], int], ended: Callable[[Node], None]) -> None:
        self._state, self._now, self._ended = state, now, ended
        self._timers = Timers(self._look)

    def start(self, nodes: Iterable[Node]) -> None:
        """Watch these from now on; some may have come to their end while the server did not run."""
        for node in nodes:
            self._look(node.id)

    def apply(self, commit: Commit) -> None:
        """Take over one commit."""
        for change in commit.changes:
            if isinstance(change.record, Node):
                self._look(change.id)
            elif change.kind is Node:
                self._timers.cancel(change.id)

    def close(self) -> None:
        """Watch nobody any more."""
        self._timers.close()

    def _look(self, id_: int) -> None:
        node = self._state.get(Node, id_)
        if node is None:
            return
        if expired(node, self._now()):
            self._timers.cancel(id_)
            self._ended(node)
        else:
            self._watch(node)

    def _watch(self, node: Node) -> None:
        if node.expires is None:
            self._timers.cancel(node.id)
        else:
            self._timers.arm(node.id, node.expires - self._now())
