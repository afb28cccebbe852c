"""What one viewer is to be told: everything, or what changed since it was told last; as the mesh is now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from typing import Literal

from ghostwire.server.pieces import Recency
from ghostwire.server.policy.labels import bits
from ghostwire.server.policy.sight import Lens, Passage, Sight, Standing
from ghostwire.server.views.history import Clock, Trace, Trail, Unknown
from ghostwire.server.views.outbox import ALL, ANYONE, CURSOR, EVERY_LABEL, Key, Outbox
from ghostwire.server.views.roster import Roster
from ghostwire.server.views.scene import Item, Scene


class Telling:
    """Reads the scene and its history; changes nothing. ``epoch`` is part of what views are told apart by."""

    def __init__(self, scene: Scene, roster: Roster, clock: Clock, epoch: int) -> None:
        self._scene, self._roster, self._clock, self._epoch = scene, roster, clock, epoch
        self.nodes: Trail[Standing] = Trail(clock)
        self.routes: Trail[Passage] = Trail(clock)
        self.records: Recency[int] = Recency()
        self.homes: Recency[int] = Recency()
        self.relays: Recency[int] = Recency()

    def view(self, viewer: int) -> int:
        """A digest of what the viewer sees by; 0 where it sees nothing."""
        lens = self._scene.sight.lens(viewer)
        return (lens.digest ^ self._epoch) or 1 if lens else 0

    def everything(self, viewer: int) -> Iterator[Item]:
        """The viewer's whole map."""
        for node in self._seen_by(viewer):
            yield "nodes", node
        yield from self._but_nodes(viewer)

    def _seen_by(self, viewer: int) -> set[int]:
        """The nodes that the viewer sees, itself among them."""
        standing = self._scene.sight.standing(viewer)
        return self._scene.sight.company(standing) | {viewer} if standing else set()

    def _but_nodes(self, viewer: int) -> Iterator[Item]:
        """The viewer's whole map, without its nodes."""
        sight = self._scene.sight
        lens = sight.lens(viewer)
        if lens is None:
            return
        for rule in lens.rules:
            yield "rules", rule
        for bit in bits(lens.held):
            yield "sets", (bit, lens.scope(bit))
        for route in sight.routes(viewer, self._roster.routes_of(viewer)):
            yield "routes", route
        for relay in self._scene.relays.ids():
            yield "relays", relay
        yield "own_labels", self._scene.labels.ids(lens.own_labels)
        yield "view", self.view(viewer)

    def whole(self, viewer: int) -> frozenset[Item]:
        """What viewers have in common that have the same whole map; nothing where the viewer is seen by nobody."""
        sight = self._scene.sight
        standing = sight.standing(viewer)
        if standing is None:
            return frozenset()
        alone = bool(self._roster.routes_of(viewer)) or not sight.links(viewer, standing)
        return frozenset({("whole", (sight.place(standing), viewer if alone else 0))})

    def alike(self, box: Outbox) -> frozenset[Item]:
        """What viewers have in common that lack the same because of a new policy; nothing where this one may lack what
        no other does. To spell it out costs a look at each node."""
        turn, viewer, sight, keys = box.turn, box.session.id, self._scene.sight, frozenset(box.keys)
        if turn is None or box.unsure or any(key.id == viewer for key in keys) or self._roster.routes_of(viewer):
            return frozenset()
        was, now = turn.before.standing(viewer), sight.standing(viewer)
        if was is None or now is None or turn.before.links(viewer, was) != sight.links(viewer, now):
            return frozenset()
        return frozenset({("turn", (turn, turn.before.place(was), sight.place(now), keys))})

    def order(self, box: Outbox) -> tuple[int, int]:
        """Sorts viewers so that those come together that lack the same much: small things first."""
        standing = self._scene.sight.standing(box.session.id) if box.since == ALL or box.turn else None
        return standing or (-1, 0)

    def news(self, box: Outbox) -> frozenset[Item]:
        """What is in the outbox, and what the viewer missed where it came back."""
        viewer = box.session.id
        lens = self._scene.sight.lens(viewer)
        if lens is None:
            return frozenset()
        if box.named and isinstance(box.since, int):
            return frozenset(self._named(viewer, box.since, box.keys))
        keys, found = box.keys, set[Item]()
        if isinstance(box.since, int):
            keys = keys | self._missed(viewer, box.since, box.session.position.newest if box.session.position else 0)
            found.add(("view", self.view(viewer)))
        if box.turn is not None:
            found.update(self._turned(viewer, box.turn.before))
        before = box.turn.before.lens(viewer) if box.turn is not None else box.before
        if before is not None:
            found.update(self._other_lens(before, lens, viewer, box.turn.anew if box.turn else 0))
        read = {item for key in keys for item in self._read(viewer, lens, key)}
        found |= read
        return frozenset(found - {item for item in read if item[0] == "homes" and ("nodes", item[1]) in found})

    def _named(self, viewer: int, since: int, keys: Iterable[Key]) -> Iterator[Item]:
        """Which nodes the viewer sees, those that changed since that tick or are asked for, and all that is no node."""
        visible, homes = self._seen_by(viewer), set(self.homes.since(since))
        changed = set(self.records.since(since))
        for key in keys:
            if key.kind in ("node", "home"):
                (changed if key.kind == "node" else homes).add(key.id)
        yield "visible", tuple(sorted(visible))
        for node in visible & changed:
            yield "nodes", node
        for node in (visible & homes & self._scene.homes.keys()) - changed:
            yield "homes", node
        yield from self._but_nodes(viewer)

    def _read(self, viewer: int, lens: Lens, key: Key) -> Iterable[Item]:
        """What a key means for this viewer by now."""
        id_, sight = key.id, self._scene.sight
        match key.kind:
            case "node":
                return ((_field("nodes", sight.sees(viewer, id_)), id_),)
            case "home":
                shown = sight.sees(viewer, id_) and id_ in self._scene.homes
                return (("homes", id_),) if shown else ()
            case "place":
                return self._places(viewer, lens, key)
            case "route":
                return ((_field("routes", sight.sees_route(viewer, id_)), id_),)
            case "relay":
                return ((_field("relays", id_ in self._scene.relays), id_),)
            case _:
                return (("cursor", 0),) if key is CURSOR else ()

    def _places(self, viewer: int, lens: Lens, key: Key) -> Iterator[Item]:
        """In which of the viewer's sets the node is, as far as that changed; a set that it is told anew says it too."""
        sight = self._scene.sight
        standing = sight.standing(key.id)
        if standing is None or not sight.sees(viewer, key.id):
            return
        concerned = key.owner == ANYONE or lens.owner in (key.owner, standing.owner)
        for bit in bits(lens.held & key.touched & ~sight.book.everyone):
            carries = bool(standing.vector >> bit & 1)
            if not lens.scope(bit):
                yield "set_changes", (bit, key.id, carries)
            elif concerned:
                yield "set_changes", (bit, key.id, carries and lens.owner == standing.owner)

    def _other_lens(self, before: Lens, lens: Lens, viewer: int, anew: int) -> Iterator[Item]:
        """Rules, sets and labels that the viewer came to see or no longer sees; sets of labels in ``anew`` whole."""
        ids = self._scene.labels.id
        for rule in lens.rules - before.rules:
            yield "rules", rule
        for rule in before.rules - lens.rules:
            yield "removed_rules", rule
        for bit in bits(before.held & ~lens.held):
            yield "removed_sets", ids(bit)
        for bit in bits(lens.held):
            if not (before.held & ~anew) >> bit & 1 or before.scope(bit) != lens.scope(bit):
                yield "sets", (bit, lens.scope(bit))
        if before.own_labels != lens.own_labels:
            yield "own_labels", self._scene.labels.ids(lens.own_labels)
        if before.digest != lens.digest:
            yield "view", self.view(viewer)

    def _turned(self, viewer: int, old: Sight) -> Iterable[Item]:
        """What another policy shows this viewer, and hides from it."""
        new, own = self._scene.sight, self._roster.routes_of(viewer)
        was, is_ = old.standing(viewer), new.standing(viewer)
        nodes = (old.company(was), new.company(is_)) if was and is_ else (set[int](), set[int]())
        routes = old.routes(viewer, own), new.routes(viewer, own)
        return chain(_turned("nodes", *(each - {viewer} for each in nodes)), _turned("routes", *routes))

    def _missed(self, viewer: int, since: int, newest: int) -> set[Key]:
        """What changed after that tick, as far as it concerns the viewer; ``newest`` is the last node it may know.

        It costs what the viewer sees, or less, and a look at each place that a node left, but not at every change.
        """
        sight, visible = self._scene.sight, self._seen_by(viewer)
        keys = {Key("node", node) for node in self.records.among(visible, since)}
        keys.update(Key("home", node) for node in self.homes.among(visible, since))
        keys.update(Key("relay", relay) for relay in self.relays.since(since))
        for trace in self.nodes.of(visible, since):
            keys.update(self._moved(viewer, trace))
        for was, traces in self.nodes.left(since):
            if isinstance(was, Unknown):
                keys.update(Key("node", each.id) for each in traces if each.id <= newest and each.id not in visible)
            elif was is not None and sight.links(viewer, was):
                keys.update(Key("node", each.id) for each in traces if each.id not in visible)
        for way in self.routes.since(since):
            knew = isinstance(way.was, Unknown) or (way.was is not None and sight.leads(viewer, way.was))
            if knew or sight.sees_route(viewer, way.id):
                keys.add(Key("route", way.id))
        return keys

    def _moved(self, viewer: int, trace: Trace[Standing]) -> Iterator[Key]:
        """What became of a node that the viewer sees now."""
        sight, node, was = self._scene.sight, trace.id, trace.was
        now = sight.at(node)
        if isinstance(was, Unknown):
            yield from (Key("node", node), Key("place", node, EVERY_LABEL, ANYONE))
        elif was is None:
            yield from (Key("node", node), Key("place", node, now.vector, now.owner))
        else:
            yield Key("place", node, was.vector | now.vector, was.owner)
            if not sight.links(viewer, was) and viewer != node:
                yield Key("node", node)


def _field(name: Literal["nodes", "routes", "relays"], shown: bool) -> str:
    return name if shown else f"removed_{name}"


def _turned(name: Literal["nodes", "routes"], old: set[int], new: set[int]) -> Iterable[Item]:
    return chain(zip(repeat(name), new - old), zip(repeat(f"removed_{name}"), old - new))
