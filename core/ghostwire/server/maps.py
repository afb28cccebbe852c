"""The network map as the server holds it, and frames of what changed since any position.

A position is (revision, counter): the last commit and the last presence event that a viewer's map contains. What
changed since is read off backwards from two lists in order of last change, so a frame costs what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import NamedTuple

import msgspec

from ghostwire.capabilities.storage import Change, Commit, Snapshot
from ghostwire.model import Cursor, MapNode, Node, Relay, pack
from ghostwire.server.pieces import Pieces, Recency
from ghostwire.server.policy import OpenPolicy
from ghostwire.server.relays import records
from ghostwire.server.state import expired
from ghostwire.server.streams import Frame


class Position(NamedTuple):
    """Where a viewer's map stands."""

    revision: int
    counter: int


class _MapFrame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="map"):
    """`MapChange` of parts that are encoded already."""

    cursor: Cursor
    full: bool = False
    nodes: Sequence[msgspec.Raw] = ()
    removed_nodes: Sequence[int] = ()
    homes: Mapping[int, int | None] = {}
    rules: Sequence[msgspec.Raw] = ()
    sets: Sequence[msgspec.Raw] = ()
    own_labels: Sequence[int] | None = None
    relays: Sequence[msgspec.Raw] = ()
    removed_relays: Sequence[int] = ()


class Maps:
    """Every node and relay as viewers see them: nodes whose key has expired are seen by nobody.

    ``server`` is this start's random id in the presence clock; ``now`` gives Unix seconds.
    """

    def __init__(self, policy: OpenPolicy, server: str, now: Callable[[], int]) -> None:
        self._policy, self._server, self._now = policy, server, now
        self._rules = [msgspec.Raw(pack(rule)) for rule in policy.rules]
        self._sets = [msgspec.Raw(pack(set_)) for set_ in policy.sets]
        self._nodes: dict[int, Node] = {}
        self._shown, self._relays = Pieces(), Pieces()
        self._homes: dict[int, int | None] = {}  # absent: not heard of since the start, when viewers know what was
        self._marks: dict[int, bytes] = {}
        self._moved: Recency[int] = Recency()
        self._counter = 0
        self._revision, self._oldest = 0, 1

    def load(self, snapshot: Snapshot, log: Sequence[Commit]) -> None:
        """Take over all records, and from the log what changed when."""
        for record in snapshot.records:
            if isinstance(record, Node):
                self._put(record)
                self.expire(record.id)
            elif isinstance(record, Relay):
                self._put_relay(record)
        for commit in log:
            self._mark(commit)
            for change in commit.changes:
                if pieces := self._shelf(change):
                    pieces.changed.touch(change.id, commit.revision)
        self._revision, self._oldest = snapshot.revision, snapshot.oldest
        self._marks[snapshot.revision] = snapshot.mark

    def apply(self, commit: Commit) -> None:
        """Take over one commit."""
        self._mark(commit)
        for change in commit.changes:
            if (pieces := self._shelf(change)) and self._take(change):
                pieces.changed.touch(change.id, commit.revision)

    def move(self, node: int, home: int | None) -> bool:
        """Note a node's home relay; whether that is news to its viewers."""
        held = self._nodes.get(node)
        if held is None or self._homes.get(node, ...) == home:
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
        self._shown.hide(node)
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

    def frame(self, since: Position | None) -> Frame[Position]:
        """What changed since then; everything where ``since`` is None, or so old that its removals are forgotten."""
        if since is None or since.revision + 1 < self._oldest:
            return Frame(self._whole(), self.position)
        nodes = set(self._shown.changed.since(since.revision))
        moved = set(self._moved.since(since.counter)) - nodes
        relays = set(self._relays.changed.since(since.revision))
        return Frame(self._delta(nodes, moved, relays) if nodes or moved or relays else None, self.position)

    def greeting(self, since: Position | None) -> Frame[Position]:
        """The first frame of a stream, which says where the map stands even where nothing changed."""
        frame = self.frame(since)
        return frame if frame.content is not None else Frame(self._delta(set(), set(), set()), frame.target)

    @property
    def cursor(self) -> Cursor:
        """The position as viewers keep it."""
        return Cursor(self._revision, self._marks.get(self._revision, b""), {self._server: self._counter})

    def compact(self, before: int) -> None:
        """Forget marks and removed objects of revisions before that one."""
        for revision in range(self._oldest, min(before, self._revision)):
            self._marks.pop(revision, None)
        self._shown.compact(before)
        self._relays.compact(before)
        self._oldest = max(self._oldest, min(before, self._revision))

    def _whole(self) -> bytes:
        shown, relays = self._shown.all(), self._relays.all()
        rules, sets, labels = self._rules, self._sets, self._policy.labels
        return pack(
            _MapFrame(
                cursor=self.cursor, full=True, nodes=shown, rules=rules, sets=sets, own_labels=labels, relays=relays
            )
        )

    def _delta(self, nodes: Set[int], moved: Set[int], relays: Set[int]) -> bytes:
        """``moved`` nodes have another home, or came to the end of their key, and are else as they were."""
        homes = {id_: self._homes[id_] for id_ in moved & self._homes.keys() if id_ in self._shown}
        shown, gone = self._shown.pick(nodes | (moved - homes.keys()))
        there, away = self._relays.pick(relays)
        frame = _MapFrame(
            cursor=self.cursor, nodes=shown, removed_nodes=gone, homes=homes, relays=there, removed_relays=away
        )
        return pack(frame)

    def _mark(self, commit: Commit) -> None:
        self._revision = commit.revision
        self._marks[commit.revision] = commit.mark

    def _touch(self, node: int) -> None:
        self._counter += 1
        self._moved.touch(node, self._counter)

    def _shelf(self, change: Change) -> Pieces | None:
        """Where the objects of this change's kind are; None where it is not in the map."""
        return self._shown if change.kind is Node else self._relays if change.kind is Relay else None

    def _take(self, change: Change) -> bool:
        """Whether viewers see anything of this change."""
        if isinstance(change.record, Node):
            if change.id not in self._nodes:
                self._homes[change.id] = None
            return self._put(change.record)
        if isinstance(change.record, Relay):
            return self._put_relay(change.record)
        return self._remove(change.id) if change.kind is Node else self._relays.hide(change.id)

    def _put(self, node: Node) -> bool:
        self._nodes[node.id] = node
        return self._shown.hide(node.id) if expired(node, self._now()) else self._shown.show(node.id, self.seen(node))

    def _put_relay(self, relay: Relay) -> bool:
        usable = records.usable(relay)
        return self._relays.show(relay.id, records.seen(relay)) if usable else self._relays.hide(relay.id)

    def _remove(self, id_: int) -> bool:
        """True in any case: that the node's key had expired may not have been told yet."""
        self._nodes.pop(id_, None)
        self._shown.hide(id_)
        self._homes.pop(id_, None)
        self._moved.forget(id_)
        return True
