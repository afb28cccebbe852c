"""The mesh as it is now: its map's objects, encoded, and who sees which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ghostwire.model import Cursor, LabelSet, SetChange, pack
from ghostwire.server.pieces import Pieces
from ghostwire.server.policy.labels import Labels, bits
from ghostwire.server.policy.rulebook import Rulebook
from ghostwire.server.policy.sight import Sight

Item = tuple[str, Any]
"""One thing to tell a viewer: a field of `MapChange`, and an id or whatever that field is made of here."""


class _MapFrame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="map"):
    """`MapChange` of parts that are encoded already."""

    cursor: Cursor
    full: bool = False
    visible: Sequence[int] | None = None
    nodes: Sequence[msgspec.Raw] = ()
    removed_nodes: Sequence[int] = ()
    homes: Mapping[int, int | None] = {}
    rules: Sequence[msgspec.Raw] = ()
    removed_rules: Sequence[int] = ()
    sets: Sequence[msgspec.Raw] = ()
    removed_sets: Sequence[int] = ()
    set_changes: Sequence[SetChange] = ()
    routes: Sequence[msgspec.Raw] = ()
    removed_routes: Sequence[int] = ()
    own_labels: Sequence[int] | None = None
    relays: Sequence[msgspec.Raw] = ()
    removed_relays: Sequence[int] = ()


class Scene:
    """``sight`` is that of the policy in force; everything that viewers see is in ``nodes``, ``routes``, ``relays``."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.sight = Sight(Rulebook((), labels))
        self.nodes, self.routes, self.relays = Pieces(), Pieces(), Pieces()
        self.homes: dict[int, int | None] = {}
        """Home regions; absent: not heard of since the start, when viewers know what was."""
        self._sets: dict[int, msgspec.Raw] = {}

    def forget_sets(self, touched: int) -> None:
        """Other nodes carry these labels now."""
        for bit in bits(touched):
            self._sets.pop(bit, None)

    def forget_all_sets(self) -> None:
        """Other labels stand at the same bits now, or any node carries others."""
        self._sets.clear()

    def set_of(self, bit: int, owner: int) -> msgspec.Raw:
        """A label's set: all of it (``owner`` 0), or that user's untagged nodes in it."""
        if owner:
            return self._encode(bit, {node for node in self.sight.owned(owner) if self.carries(node, bit)})
        held = self._sets.get(bit)
        if held is None:
            held = self._sets[bit] = self._encode(bit, self.sight.meeting(1 << bit))
        return held

    def carries(self, node: int, bit: int) -> bool:
        """Whether the node carries that label."""
        standing = self.sight.standing(node)
        return standing is not None and bool(standing.vector >> bit & 1)

    def frame(self, cursor: Cursor, items: Iterable[Item], *, full: bool) -> bytes:
        """These things as one encoded message."""
        by_field: defaultdict[str, list[Any]] = defaultdict(list)
        for field, what in items:
            by_field[field].append(what)
        view = by_field.pop("view", None)
        by_field.pop("cursor", None)
        parts: dict[str, Any] = {field: self._part(field, sorted(what)) for field, what in by_field.items()}
        if view:
            cursor = msgspec.structs.replace(cursor, view=view[0])
        return pack(_MapFrame(cursor=cursor, full=full, **parts))

    def _part(self, field: str, what: list[Any]) -> Any:
        match field:
            case "nodes" | "routes" | "relays":
                pieces: Pieces = getattr(self, field)
                return [pieces[id_] for id_ in what]
            case "homes":
                return {id_: self.homes[id_] for id_ in what}
            case "rules":
                return [self.sight.book.rules[id_] for id_ in what]
            case "sets":
                return [self.set_of(bit, owner) for bit, owner in what]
            case "set_changes":
                return self._changes(what)
            case "own_labels" | "visible":
                return what[0]
            case _:
                return what

    def _changes(self, what: list[tuple[int, int, bool]]) -> list[SetChange]:
        """Of (label's bit, node, whether it carries it)."""
        added: defaultdict[int, list[int]] = defaultdict(list)
        removed: defaultdict[int, list[int]] = defaultdict(list)
        for bit, node, carries in what:
            (added if carries else removed)[bit].append(node)
        return [
            SetChange(id=self.labels.id(bit), added=tuple(added[bit]), removed=tuple(removed[bit]))
            for bit in sorted({*added, *removed})
        ]

    def _encode(self, bit: int, nodes: Iterable[int]) -> msgspec.Raw:
        everyone = bool(self.sight.book.everyone >> bit & 1)
        members = () if everyone else tuple(sorted(nodes))
        return msgspec.Raw(pack(LabelSet(id=self.labels.id(bit), everyone=everyone, nodes=members)))
