"""Who sees whom: nodes as vectors of labels, equal ones as one kind, and the nodes that a set of labels meets.

``a`` sees ``b`` where a rule leads from a label of one to a label of the other, or a rule with `own` holds between
them; seeing is mutual. Kinds are only a cache: what is the same for all nodes of one vector is found out once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from hashlib import blake2s
from typing import NamedTuple

from ghostwire.server.policy.labels import bits, chosen
from ghostwire.server.policy.rulebook import Rulebook


class Standing(NamedTuple):
    """Where a node stands: the mask of its labels, and the user whose it is (0: a tagged node acts for nobody)."""

    vector: int
    owner: int


class Passage(NamedTuple):
    """A route as the policy takes it: the mask of its labels, its router, and whether it is a default route."""

    vector: int
    router: int
    exit: bool


class Lens(NamedTuple):
    """What a standing sees by. Masks of labels: ``into`` lead to it, it leads to ``out``, its rules name ``sets``
    (and ``own_sets``, of which it is told its owner's nodes only); it carries ``own_labels`` that its rules name."""

    owner: int
    out: int
    into: int
    sets: int
    own_sets: int
    own_labels: int
    rules: frozenset[int]
    digest: int

    @property
    def held(self) -> int:
        """All sets that it is told of."""
        return self.sets | self.own_sets

    def scope(self, bit: int) -> int:
        """Whose nodes it is told of a set that it holds; 0 for all."""
        return 0 if self.sets >> bit & 1 else self.owner


class Kind:
    """The nodes of one vector, and what follows from it."""

    def __init__(self, book: Rulebook, vector: int, place: int) -> None:
        self._book, self.vector, self.place = book, vector, place
        self.members: set[int] = set()
        self.row, self.row_of = 0, -1
        """The places of the kinds that it sees, as of that count of kinds."""
        self.reach = book.out(vector) | book.into(vector)

    @cached_property
    def _masks(self) -> tuple[int, int, int]:
        return self._book.out(self.vector), self._book.into(self.vector), self._book.named(self.vector)

    @cached_property
    def _rules(self) -> frozenset[int]:
        return self._book.rules_to(self.vector)

    @cached_property
    def _digest(self) -> bytes:
        """Of what tells kinds apart for who asks what they may see; alike on every server."""
        out, ids = self._masks[0], self._book.labels.ids
        return blake2s(repr((ids(self.vector), ids(out), sorted(self._rules))).encode()).digest()

    def lens(self, owner: int) -> Lens:
        """What a node of this kind sees by."""
        book, (out, into, sets) = self._book, self._masks
        own_sets, rules, about = (0, self._rules, b"")
        if owner and book.own_rules:
            own_sets, rules = book.own_sets, self._rules | book.own_rules
            about = repr((owner, book.labels.ids(book.own), sorted(book.own_rules))).encode()
        digest = int.from_bytes(blake2s(self._digest + about).digest()[:7]) or 1
        return Lens(owner, out, into, sets, own_sets, self.vector & book.targets, rules, digest)


class Sight:
    """Nodes and routes by id, under one rulebook."""

    def __init__(self, book: Rulebook) -> None:
        self.book = book
        self._at: dict[int, tuple[Kind, int]] = {}
        self._kinds: dict[int, Kind] = {}
        self._places: list[Kind] = []
        self._free: list[int] = []
        self._appeared = 0
        self._has: defaultdict[int, int] = defaultdict(int)
        self._owned: defaultdict[int, set[int]] = defaultdict(set)
        self.passages: dict[int, Passage] = {}
        self._passages_by: defaultdict[int, set[int]] = defaultdict(set)

    # Nodes

    def put(self, node: int, standing: Standing) -> None:
        """The node stands there from now on."""
        self.drop(node)
        kind = self._kinds.get(standing.vector) or self._appear(standing.vector)
        kind.members.add(node)
        self._at[node] = kind, standing.owner
        if standing.owner:
            self._owned[standing.owner].add(node)

    def drop(self, node: int) -> None:
        """The node is seen by nobody; harmless where it was not."""
        kind, owner = self._at.pop(node, (None, 0))
        if kind is None:
            return
        kind.members.discard(node)
        if not kind.members:
            self._disappear(kind)
        if owner:
            self._owned[owner].discard(node)
            if not self._owned[owner]:
                del self._owned[owner]

    def standing(self, node: int) -> Standing | None:
        """Where the node stands; None where nobody sees it."""
        kind, owner = self._at.get(node, (None, 0))
        return None if kind is None else Standing(kind.vector, owner)

    def at(self, node: int) -> Standing:
        """Where a node stands that is there."""
        kind, owner = self._at[node]
        return Standing(kind.vector, owner)

    def lens(self, node: int) -> Lens | None:
        """What the node sees by; None where nobody sees it."""
        kind, owner = self._at.get(node, (None, 0))
        return None if kind is None else kind.lens(owner)

    def place(self, standing: Standing) -> Standing:
        """What of a standing decides what is seen from there: whose a node is does not where no rule is with `own`."""
        return standing if self.book.own_rules else Standing(standing.vector, 0)

    def sees(self, viewer: int, node: int) -> bool:
        """Whether one sees the other; each sees itself."""
        there = self.standing(node)
        return there is not None and (viewer == node or self.links(viewer, there))

    def links(self, viewer: int, standing: Standing) -> bool:
        """Whether the viewer would see a node that stood there."""
        kind, owner = self._at.get(viewer, (None, 0))
        if kind is None:
            return False
        return bool(kind.reach & standing.vector) or self._own(owner, standing.owner, kind.vector | standing.vector)

    def company(self, standing: Standing) -> set[int]:
        """All nodes that see, and are seen from, there."""
        kind = self._kinds.get(standing.vector)
        found = self.meeting(kind.reach, kind) if kind else self.meeting(self._reach(standing.vector))
        return found | set(self._kin(standing))

    def meeting(self, mask: int, known: Kind | None = None) -> set[int]:
        """The nodes that carry one of these labels, which are those that a ``known`` kind reaches."""
        if known is not None and known.row_of == self._appeared:
            row = known.row
        else:
            row = 0
            for bit in bits(mask):
                row |= self._has.get(bit, 0)
            if known is not None:
                known.row, known.row_of = row, self._appeared
        return set().union(*(kind.members for kind in chosen(self._places, row)))

    def owned(self, owner: int) -> set[int]:
        """The untagged nodes of a user."""
        return self._owned.get(owner, set())

    # Routes

    def put_route(self, route: int, passage: Passage) -> None:
        """The route is known from now on."""
        self.drop_route(route)
        self.passages[route] = passage
        for bit in bits(passage.vector):
            self._passages_by[bit].add(route)

    def drop_route(self, route: int) -> None:
        """The route is seen by nobody; harmless where it was not."""
        passage = self.passages.pop(route, None)
        for bit in bits(passage.vector if passage else 0):
            self._passages_by[bit].discard(route)

    def sees_route(self, viewer: int, route: int) -> bool:
        """Whether a rule leads the viewer there (or from there, but for default routes), or it is the router."""
        passage = self.passages.get(route)
        return passage is not None and self.leads(viewer, passage)

    def leads(self, viewer: int, passage: Passage) -> bool:
        """Whether the viewer would see such a route."""
        kind, _ = self._at.get(viewer, (None, 0))
        if kind is None:
            return False
        reach = self.book.out(kind.vector) if passage.exit else kind.reach
        return viewer == passage.router or bool(reach & passage.vector)

    def travellers(self, passage: Passage) -> set[int]:
        """All nodes that see such a route."""
        mask = self.book.into(passage.vector) if passage.exit else self._reach(passage.vector)
        return self.meeting(mask) | {passage.router}

    def routes(self, viewer: int, own: Iterator[int] | tuple[int, ...] = ()) -> set[int]:
        """The routes that a viewer sees, among them those of its ``own``."""
        kind, _ = self._at.get(viewer, (None, 0))
        if kind is None:
            return set()
        near = set(own).union(*(self._passages_by[bit] for bit in bits(kind.reach) if bit in self._passages_by))
        return {route for route in near if self.sees_route(viewer, route)}

    def _reach(self, vector: int) -> int:
        return self.book.out(vector) | self.book.into(vector)

    def _own(self, one: int, other: int, vectors: int) -> bool:
        return bool(one and one == other and vectors & self.book.own)

    def _kin(self, standing: Standing) -> Iterator[int]:
        """The nodes between which and this one a rule with `own` holds."""
        own = self.book.own
        if not own:
            return
        for node in self._owned.get(standing.owner, ()) if standing.owner else ():
            if (self._at[node][0].vector | standing.vector) & own:
                yield node

    def _appear(self, vector: int) -> Kind:
        place = self._free.pop() if self._free else len(self._places)
        kind = self._kinds[vector] = Kind(self.book, vector, place)
        self._places[place : place + 1] = [kind]
        self._appeared += 1
        for bit in bits(vector):
            self._has[bit] |= 1 << place
        return kind

    def _disappear(self, kind: Kind) -> None:
        """Its place in others' rows stays, as that of nobody, until another kind takes it."""
        del self._kinds[kind.vector]
        self._free.append(kind.place)
        for bit in bits(kind.vector):
            self._has[bit] &= ~(1 << kind.place)
