"""The network map as the server holds it: follows commits and presence, and says what each viewer is to be told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from hashlib import blake2s
from time import monotonic_ns

from ghostwire.capabilities.policy import CompiledPolicy
from ghostwire.capabilities.storage import Commit, Snapshot
from ghostwire.model import Cursor, MapNode, Node, PolicyVersion, Relay, Route
from ghostwire.server.policy.labels import Labels
from ghostwire.server.relays import records
from ghostwire.server.session import Session
from ghostwire.server.state import expired
from ghostwire.server.views.changes import Changes
from ghostwire.server.views.history import Clock
from ghostwire.server.views.loading import Past
from ghostwire.server.views.outbox import ALL, Key, Outbox, Outboxes
from ghostwire.server.views.roster import Roster
from ghostwire.server.views.scene import Item, Scene
from ghostwire.server.views.telling import Telling
from ghostwire.wire.messages import NAMING

LAG = 1024
"""Revisions after which a viewer whom nothing concerned is told where the map stands, so that it can come back."""

LARGE = 1 << 16
"""Bytes of a frame that is kept alone for those who lack the same."""

ASKED_AGAIN = 2
"""How often a viewer may ask for every node that it was told it sees."""


class Maps:
    """Every node, route and relay as viewers see them: nodes whose key has expired are seen by nobody.

    ``server`` is this start's random id in the presence clock; ``now`` gives Unix seconds, ``elapsed``
    nanoseconds that no one sets. ``epoch`` is what else than records decides what a policy means (settings, a version):
    who was told under another one begins anew.
    """

    def __init__(
        self,
        policy: CompiledPolicy,
        server: str,
        now: Callable[[], int],
        epoch: str = "",
        *,
        elapsed: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._now = now
        self.outboxes = Outboxes()
        self._scene, self._roster, self._clock = Scene(Labels()), Roster(), Clock(server, elapsed)
        digest = int.from_bytes(blake2s(epoch.encode()).digest()[:7])
        self._telling = Telling(self._scene, self._roster, self._clock, digest)
        self._changes = Changes(policy, self._scene, self._roster, self._clock, self._telling, self.outboxes)

    def load(self, snapshot: Snapshot, log: Sequence[Commit]) -> None:
        """Take over all records, and from the log what changed when."""
        Past(self._telling, self._clock, self._roster).read(snapshot, log)
        self._clock.event()
        for node in self._roster.nodes.values():
            if expired(node, self._now()):
                self._changes.begin_hidden(node)
            else:
                self._changes.begin(node)
        for route in self._roster.routes.values():
            self._changes.begin_route(route)
        for record in snapshot.records:
            if isinstance(record, Relay) and records.usable(record):
                self._scene.relays.show(record.id, records.seen(record))

    def apply(self, commit: Commit) -> None:
        """Take over one commit."""
        self._clock.commit(commit.revision, commit.mark)
        if any(isinstance(change.record, PolicyVersion) for change in commit.changes):
            self._clock.awaits_policy()
        nodes: dict[int, None] = {}
        for change in commit.changes:
            if isinstance(change.record, Node) and change.id not in self._roster.nodes:
                self._scene.homes[change.id] = None
                self._clock.newest = max(self._clock.newest, change.id)
            nodes |= dict.fromkeys(self._roster.take(change))
            if change.kind is Relay:
                self._take_relay(change.id, change.record if isinstance(change.record, Relay) else None)
        for node in nodes:
            self._settle(node)
        for change in commit.changes:
            if change.kind is Route:
                self._changes.settle_route(change.id)
        if commit.revision % LAG == 0:
            self.outboxes.remind(commit.revision - LAG)

    def adopt(self, policy: CompiledPolicy) -> None:
        """Put another policy in force."""
        for _ in self.adopting(policy):
            pass
        self.settled()

    def adopting(self, policy: CompiledPolicy) -> Iterator[None]:
        """Put another policy in force in small steps; other work may be done between them."""
        return self._changes.adopting(policy)

    def settled(self) -> None:
        """The policy that was stored last is in force, or will not be."""
        self._clock.settled()

    @property
    def turning(self) -> bool:
        """Whether nobody can be told anything just now: a policy is coming into force."""
        return self._changes.turning

    def move(self, node: int, home: int | None, *, again: bool = False) -> bool:
        """Note a node's home relay; whether that is news to its viewers (``again``: it is, as they may have been told
        another by another server)."""
        held, homes = self._roster.nodes.get(node), self._scene.homes
        known = homes.get(node, ...)
        if held is None or (known == home and not again):
            return False
        self._clock.event()
        homes[node] = home
        self._telling.homes.touch(node, self._clock.tick)
        if node in self._scene.nodes:
            self._scene.nodes.show(node, self.seen(held))
            self.outboxes.mark(self._changes.audience(node), Key("home", node), later=known in (..., home))
        return True

    def expire(self, node: int) -> bool:
        """Take a node out of sight if its key has expired; whether it has."""
        held = self._roster.nodes.get(node)
        if held is None or not expired(held, self._now()):
            return False
        self._clock.judged()
        self._settle(node)
        return True

    def revive(self, node: Node) -> None:
        """Take a node into sight again whose key had ended by a clock that was ahead; harmless where it is in sight."""
        if node.id in self._roster.nodes and node.id not in self._scene.nodes:
            self._clock.judged()
            self._settle(node.id)

    def route_down(self, node: int, down: frozenset[str], *, again: bool = False) -> None:
        """Note which of its prefixes the node cannot reach at present (``again`` as in `move`)."""
        self._clock.event()
        self._changes.set_down(node, down, again=again)

    def count(self) -> int:
        """This server's next counter: what it tells other servers under it is all that it did up to now."""
        return self._clock.count()

    def hearing(self, server: str, counter: int) -> AbstractContextManager[None]:
        """What is done within is what another server told up to its counter."""
        return self._clock.hearing(server, counter)

    def gone(self, server: str) -> None:
        """Another server is gone."""
        self._clock.gone(server)

    @property
    def server(self) -> str:
        """This start's random id in the presence clock."""
        return self._clock.server

    def compact(self, before: int) -> None:
        """Forget what only viewers need that were told last before that revision; remind those that are connected."""
        tick = self._clock.compact(before)
        self.outboxes.remind(self._clock.revision - LAG)
        telling, scene = self._telling, self._scene
        telling.nodes.compact(tick)
        telling.routes.compact(tick)
        telling.records.compact(tick, scene.nodes)
        telling.homes.compact(tick, scene.nodes)
        telling.relays.compact(tick, scene.relays)

    @property
    def examined(self) -> int:
        """Connected viewers that the last policy made look anew."""
        return self._changes.examined

    @property
    def cursor(self) -> Cursor:
        """Where the map stands, as viewers keep it."""
        return self._clock.cursor

    @property
    def tick(self) -> int:
        """Grows with every change."""
        return self._clock.tick

    def seen(self, node: Node) -> MapNode:
        """A node as other nodes see it."""
        return self._changes.seen(node)

    def sees(self, viewer: int, node: int) -> bool:
        """Whether the two nodes are told of each other."""
        return self._scene.sight.sees(viewer, node)

    def watch(self, session: Session[Cursor]) -> Outbox:
        """Serve this session from the cursor on that is its position."""
        cursor, view = session.position, self._telling.view(session.id)
        since = self._clock.resume(cursor)
        if since is not None and cursor is not None and cursor.view == view != 0:
            return self.outboxes.add(session, since)
        told = self._clock.told(cursor) if session.protocol >= NAMING else None
        return self.outboxes.add(session, ALL if told is None else told, named=told is not None)

    def ask(self, box: Outbox, nodes: Iterable[int]) -> bool:
        """Put nodes into the outbox that its viewer lacks; False where it asks for more than it was told to see."""
        if box.room <= 0:
            return False
        asked = set(nodes)
        box.room -= len(asked)
        if box.room >= 0:
            box.keys.update(Key("node", node) for node in asked if self.sees(box.session.id, node))
            self.outboxes.touch(box)
        return box.room >= 0

    def frame(self, box: Outbox, made: dict[frozenset[Item], bytes]) -> bytes | None:
        """What the viewer lacks, None for nothing; those that lack the same share a frame of ``made``."""
        self.outboxes.sort()
        if box.since == ALL:
            return self.whole(box.session.id, made)
        alike = self._telling.alike(box)
        if alike in made:
            return made[alike]
        items = self._telling.news(box)
        if box.named:
            box.room = ASKED_AGAIN * sum(len(what) for field, what in items if field == "visible")
        frame = made.get(items) or self._scene.frame(self._clock.cursor, items, full=False) if items else None
        if frame is not None:
            if len(frame) > LARGE:
                made.clear()
            made[alike or items] = frame
        return frame

    def due(self) -> list[Outbox]:
        """Those with something to send, so that who lacks the same much comes one after the other."""
        self.outboxes.sort()
        return sorted(self.outboxes.ready, key=self._telling.order)

    def whole(self, viewer: int, made: dict[frozenset[Item], bytes]) -> bytes | None:
        """The viewer's whole map, None where nobody sees it; one at a time is kept in ``made``, for they are large."""
        items = self._telling.whole(viewer)
        if items and items not in made:
            made.clear()
            made[items] = self._scene.frame(self._clock.cursor, self._telling.everything(viewer), full=True)
        return made[items] if items else None

    def _settle(self, id_: int) -> None:
        node = self._roster.nodes.get(id_)
        self._changes.settle(id_, hidden=node is not None and expired(node, self._now()))
        if node is None:
            self._scene.homes.pop(id_, None)
            self._telling.homes.forget(id_)
            self._changes.forget(id_)

    def _take_relay(self, id_: int, relay: Relay | None) -> None:
        shelf = self._scene.relays
        usable = relay is not None and records.usable(relay)
        if shelf.show(id_, records.seen(relay)) if relay and usable else shelf.hide(id_):
            self._telling.relays.touch(id_, self._clock.tick)
            self.outboxes.mark(self.outboxes.held.keys(), Key("relay", id_))
