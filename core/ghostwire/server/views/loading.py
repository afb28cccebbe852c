"""What the change log says at a start of the server: which objects changed when, though seldom where they stood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ghostwire.capabilities.storage import Change, Commit, Snapshot
from ghostwire.model import Node, PolicyVersion, Relay, Route, User
from ghostwire.server.views.history import UNKNOWN, Clock, Trace
from ghostwire.server.views.roster import Roster
from ghostwire.server.views.telling import Telling


class Past:
    """Fills an empty history and roster. Where a node stood before its first row in the log, nobody knows."""

    def __init__(self, telling: Telling, clock: Clock, roster: Roster) -> None:
        self._telling, self._clock, self._roster = telling, clock, roster
        self._known: dict[int, tuple[Any, ...]] = {}
        self._routers: dict[int, int] = {}
        self._barrier = 0

    def read(self, snapshot: Snapshot, log: Sequence[Commit]) -> None:
        """Take over the records, then the log."""
        for record in snapshot.records:
            self._roster.take(Change(type(record), record.id, record))
            self._note(type(record), record.id, record)
        for commit in log:
            self._clock.commit(commit.revision, commit.mark)
            for change in commit.changes:
                self._note(change.kind, change.id, change.record)
                self._take(change, commit.revision)
        self._clock.loaded(snapshot.revision, snapshot.mark, snapshot.oldest, self._barrier)

    def _note(self, kind: type, id_: int, record: Any) -> None:
        if kind is Node:
            self._clock.newest = max(self._clock.newest, id_)
        elif isinstance(record, Route):
            self._routers[id_] = record.node

    def _take(self, change: Change, revision: int) -> None:
        tick, telling = self._clock.tick, self._telling
        if change.kind is Node:
            telling.records.touch(change.id, tick)
            self._take_node(change)
        elif change.kind is Route:
            telling.routes.leave(Trace(tick, change.id, UNKNOWN))
            self._take_route(change.id, revision)
        elif change.kind is User:
            for node in self._roster.nodes_of(change.id):
                self._moved(node)
        elif change.kind is Relay:
            telling.relays.touch(change.id, tick)
        elif change.kind is PolicyVersion:
            self._barrier = revision

    def _take_node(self, change: Change) -> None:
        """It may have moved, unless all by which a policy knows it is as it was in an earlier row."""
        node = change.record
        decides = (node.user, node.tags, node.addresses, node.expires) if isinstance(node, Node) else None
        if decides is None or self._known.get(change.id) != decides:
            self._moved(change.id)
        self._known[change.id] = decides or ()

    def _take_route(self, id_: int, revision: int) -> None:
        """Its router may have moved; where nobody knows which that was, whoever was away begins anew."""
        if id_ in self._routers:
            self._moved(self._routers[id_])
        else:
            self._barrier = revision

    def _moved(self, node: int) -> None:
        """It may stand elsewhere, and its routes with it."""
        tick, telling = self._clock.tick, self._telling
        telling.nodes.leave(Trace(tick, node, UNKNOWN))
        for route in self._roster.routes_of(node):
            telling.routes.leave(Trace(tick, route, UNKNOWN))
