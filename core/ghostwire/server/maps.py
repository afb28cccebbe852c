"""The network map as the server holds it: each object encoded once per change, and frames of what changed since.

A position is (revision, counter): the last commit and the last presence event that a viewer's map contains. What
changed since is read off backwards from two lists in order of last change, so a frame costs what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from ghostwire.capabilities.storage import Commit, Snapshot
from ghostwire.model import Cursor, MapNode, Node, pack
from ghostwire.server.policy import OpenPolicy
from ghostwire.server.state import expired


class Position(NamedTuple):
    """Where a viewer's map stands."""

    revision: int
    counter: int


class Frame(NamedTuple):
    """An encoded `MapChange`, and the position it leads to; ``content`` None where nothing changed for anyone."""

    content: bytes | None
    target: Position


class _MapFrame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="map"):
    """`MapChange` of parts that are encoded already."""

    cursor: Cursor
    full: bool = False
    nodes: Sequence[msgspec.Raw] = ()
    removed_nodes: Sequence[int] = ()
    rules: Sequence[msgspec.Raw] = ()
    sets: Sequence[msgspec.Raw] = ()


class Recency:
    """Ids in order of their last change."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}

    def touch(self, id_: int, number: int) -> None:
        """This id changed under this number, which is not below any before."""
        self._last.pop(id_, None)
        self._last[id_] = number

    def since(self, number: int) -> Iterator[int]:
        """Ids that changed after that number, the latest first."""
        for id_, changed in reversed(self._last.items()):
            if changed <= number:
                return
            yield id_

    def forget(self, id_: int) -> None:
        """It need not be told any more."""
        self._last.pop(id_, None)

    def up_to(self, number: int) -> list[int]:
        """Ids that last changed at that number or before."""
        found = []
        for id_, changed in self._last.items():
            if changed > number:
                break
            found.append(id_)
        return found


class Maps:
    """Every node as its viewers see it: those whose key has expired are seen by nobody.

    ``server`` is this start's random id in the presence clock; ``now`` gives Unix seconds.
    """

    def __init__(self, policy: OpenPolicy, server: str, now: Callable[[], int]) -> None:
        self._policy, self._server, self._now = policy, server, now
        self._rules = [msgspec.Raw(pack(rule)) for rule in policy.rules]
        self._sets = [msgspec.Raw(pack(set_)) for set_ in policy.sets]
        self._nodes: dict[int, Node] = {}
        self._pieces: dict[int, msgspec.Raw] = {}
        self._homes: dict[int, int | None] = {}
        self._marks: dict[int, bytes] = {}
        self._changed, self._moved = Recency(), Recency()
        self._counter = 0
        self._revision, self._oldest = 0, 1

    def load(self, snapshot: Snapshot, log: Sequence[Commit]) -> None:
        """Take over all records, and from the log what changed when."""
        for record in snapshot.records:
            if isinstance(record, Node):
                self._put(record)
                self.expire(record.id)
        for commit in log:
            self._note(commit)
        self._revision, self._oldest = snapshot.revision, snapshot.oldest
        self._marks[snapshot.revision] = snapshot.mark

    def apply(self, commit: Commit) -> None:
        """Take over one commit."""
        self._note(commit)
        for change in commit.changes:
            if isinstance(change.record, Node):
                self._put(change.record)
            elif change.kind is Node:
                self._remove(change.id)

    def move(self, node: int, home: int | None) -> bool:
        """Note a node's home relay; whether that is news to its viewers."""
        held = self._nodes.get(node)
        if held is None or self._homes.get(node) == home:
            return False
        self._homes[node] = home
        self._put(held)
        self._touch(node)
        return True

    def expire(self, node: int) -> bool:
        """Take a node out of sight if its key has expired; whether it has."""
        held = self._nodes.get(node)
        if held is None or not expired(held, self._now()):
            return False
        self._pieces.pop(node, None)
        self._touch(node)
        return True

    def seen(self, node: Node) -> MapNode:
        """A node as other nodes see it."""
        return MapNode(
            id=node.id,
            stable_id=node.stable_id,
            name=node.name,
            node_key=node.node_key,
            disco_key=node.disco_key,
            addresses=node.addresses,
            user=node.user,
            tags=node.tags,
            labels=self._policy.labels(node),
            home=self._homes.get(node.id),
        )

    @property
    def position(self) -> Position:
        """Where the newest map stands."""
        return Position(self._revision, self._counter)

    def resume(self, cursor: Cursor | None) -> Position | None:
        """Where a viewer that holds this cursor stands; None where it must begin anew."""
        if cursor is None or self._marks.get(cursor.revision) != cursor.mark or cursor.revision + 1 < self._oldest:
            return None
        return Position(cursor.revision, cursor.clock.get(self._server, 0))

    def frame(self, since: Position | None) -> Frame:
        """What changed since then; everything where ``since`` is None, or so old that its removals are forgotten."""
        if since is None or since.revision + 1 < self._oldest:
            change = _MapFrame(
                cursor=self.cursor, full=True, nodes=list(self._pieces.values()), rules=self._rules, sets=self._sets
            )
            return Frame(pack(change), self.position)
        ids = set(self._changed.since(since.revision))
        ids.update(self._moved.since(since.counter))
        return Frame(self._delta(ids) if ids else None, self.position)

    def greeting(self, since: Position | None) -> Frame:
        """The first frame of a stream, which says where the map stands even where nothing changed."""
        frame = self.frame(since)
        return frame if frame.content is not None else Frame(self._delta(set()), frame.target)

    @property
    def cursor(self) -> Cursor:
        """The position as viewers keep it."""
        return Cursor(self._revision, self._marks.get(self._revision, b""), {self._server: self._counter})

    def compact(self, before: int) -> None:
        """Forget marks and removed nodes of revisions before that one."""
        for revision in range(self._oldest, min(before, self._revision)):
            self._marks.pop(revision, None)
        for id_ in self._changed.up_to(before - 1):
            if id_ not in self._nodes:
                self._changed.forget(id_)
        self._oldest = max(self._oldest, min(before, self._revision))

    def _delta(self, ids: set[int]) -> bytes:
        nodes = [self._pieces[id_] for id_ in sorted(ids) if id_ in self._pieces]
        removed = [id_ for id_ in sorted(ids) if id_ not in self._pieces]
        return pack(_MapFrame(cursor=self.cursor, nodes=nodes, removed_nodes=removed))

    def _note(self, commit: Commit) -> None:
        self._revision = commit.revision
        self._marks[commit.revision] = commit.mark
        for change in commit.changes:
            if change.kind is Node:
                self._changed.touch(change.id, commit.revision)

    def _touch(self, node: int) -> None:
        self._counter += 1
        self._moved.touch(node, self._counter)

    def _put(self, node: Node) -> None:
        self._nodes[node.id] = node
        if expired(node, self._now()):
            self._pieces.pop(node.id, None)
        else:
            self._pieces[node.id] = msgspec.Raw(pack(self.seen(node)))

    def _remove(self, id_: int) -> None:
        self._nodes.pop(id_, None)  # one that came and went within one commit was never here
        self._pieces.pop(id_, None)
        self._homes.pop(id_, None)
        self._moved.forget(id_)
