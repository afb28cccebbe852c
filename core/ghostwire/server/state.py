"""The server's records in memory: what the last commit left, indexed by what requests name them by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ghostwire.capabilities.storage import Change, Commit, Snapshot
from ghostwire.keys import MachineKey, NodeKey
from ghostwire.model import RECORDS, Node, Record, Relay, Route, User

R = TypeVar("R", bound=Record)


class State:
    """Follows the storage: `load` once, then `apply` each commit in order. Reads never touch the database."""

    def __init__(self) -> None:
        self.revision = 0
        self._records: dict[type[Record], dict[int, Record]] = {kind: {} for kind in RECORDS}
        self._by_machine: dict[MachineKey, Node] = {}
        self._by_key: dict[NodeKey, Node] = {}
        self._by_name: dict[str, Node] = {}
        self._routes: dict[int, dict[int, Route]] = {}

    def load(self, snapshot: Snapshot) -> None:
        """Take over everything at once."""
        for record in snapshot.records:
            self._put(record)
        self.revision = snapshot.revision

    def apply(self, commit: Commit) -> None:
        """Take over what one commit changed."""
        for change in commit.changes:
            self._drop(change)
        for change in commit.changes:
            if change.record is not None:
                self._put(change.record)
        self.revision = commit.revision

    def list(self, kind: type[R]) -> Sequence[R]:
        """All records of this kind, by id."""
        held = self._records[kind]
        return [held[id_] for id_ in sorted(held)]  # type: ignore[misc]

    def count(self, kind: type[Record]) -> int:
        """How many records of this kind there are."""
        return len(self._records[kind])

    def get(self, kind: type[R], id_: int) -> R | None:
        """The record of that id."""
        return self._records[kind].get(id_)  # type: ignore[return-value]

    def node_of_machine(self, key: MachineKey) -> Node | None:
        """The node with that machine key."""
        return self._by_machine.get(key)

    def node_of_key(self, key: NodeKey) -> Node | None:
        """The node with that node key."""
        return self._by_key.get(key)

    def node_named(self, name: str) -> Node | None:
        """The node of that name."""
        return self._by_name.get(name)

    def routes_of(self, node: int) -> Sequence[Route]:
        """The node's routes, by id."""
        held = self._routes.get(node, {})
        return [held[id_] for id_ in sorted(held)]

    def user_named(self, name: str) -> User | None:
        """The user of that name."""
        return next((user for user in self.list(User) if user.name == name), None)

    def relay_of_machine(self, key: MachineKey) -> Relay | None:
        """The relay with that machine key."""
        return next((relay for relay in self.list(Relay) if relay.machine_key == key), None)

    def relay_named(self, name: str) -> Relay | None:
        """The relay of that name."""
        return next((relay for relay in self.list(Relay) if relay.name == name), None)

    def _drop(self, change: Change) -> None:
        old = self._records[change.kind].pop(change.id, None)
        if isinstance(old, Node):
            del self._by_machine[old.machine_key], self._by_key[old.node_key], self._by_name[old.name]
        elif isinstance(old, Route):
            held = self._routes[old.node]
            del held[old.id]
            if not held:
                del self._routes[old.node]

    def _put(self, record: Record) -> None:
        self._records[type(record)][record.id] = record
        if isinstance(record, Node):
            self._by_machine[record.machine_key] = record
            self._by_key[record.node_key] = record
            self._by_name[record.name] = record
        elif isinstance(record, Route):
            self._routes.setdefault(record.node, {})[record.id] = record


def expired(node: Node, now: int) -> bool:
    """Whether the node's key is no longer accepted at ``now`` (Unix seconds)."""
    return node.expires is not None and node.expires <= now
