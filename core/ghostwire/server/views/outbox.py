"""What each connected viewer has yet to be told: keys of objects, each told as it is by the time that it is sent."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Literal, NamedTuple

from ghostwire.model import Cursor
from ghostwire.server.policy.sight import Lens, Sight
from ghostwire.server.session import Session

ALL: Literal["all"] = "all"
"""In place of a tick: the viewer has nothing, or nothing that counts."""
EVERY_LABEL, ANYONE = -1, -1
"""In place of a mask and of a user's id: nobody knows which labels it carried, and whose it was."""


class Key(NamedTuple):
    """An object that changed: ``kind`` is node, home, route or relay; or ``place`` for a node's place in the sets of
    the labels in ``touched``, and ``owner`` whose it was before."""

    kind: str
    id: int
    touched: int = 0
    owner: int = 0


class Turn(NamedTuple):
    """One policy's replacement: how things were seen ``before``, and the labels whose sets are to be told anew."""

    before: Sight
    anew: int


class Outbox:
    """One viewer's. ``since`` is up to which tick its map goes (None: nothing but ``keys`` is lacking).

    ``named``: it sees by something else than at that tick, so it is told by name which nodes it sees, and asks for
    those that it lacks, ``room`` at most. ``whole``: it wants the whole map besides; the next one not before ``again``,
    in nanoseconds.
    """

    __slots__ = ("again", "before", "keys", "named", "room", "session", "since", "turn", "whole")

    def __init__(self, session: Session[Cursor], since: int | Literal["all"], named: bool = False) -> None:
        self.session = session
        self.since: int | Literal["all"] | None = since
        self.named, self.whole = named, False
        self.room = self.again = 0
        self.keys: set[Key] = set()
        self.before: Lens | None = None
        """What it saw by when it was last told, where that is another now."""
        self.turn: Turn | None = None
        """The new policy that it has yet to be told of."""

    @property
    def unsettled(self) -> bool:
        """Whether it sees by something else than when it was last told."""
        return self.before is not None or self.turn is not None

    @property
    def unsure(self) -> bool:
        """Whether it lacks more than what is in it, and what a new policy made of what it saw."""
        return self.since is not None or self.before is not None

    def begin_anew(self, told: int | None) -> None:
        """What was kept of changes does not do: name what it sees where its nodes are as of the tick ``told``."""
        self.since, self.named = (ALL, False) if told is None else (told, True)

    def told(self, cursor: Cursor | None) -> None:
        """It has everything; as of this cursor, where it was told one."""
        if cursor is not None:
            self.session.position, self.session.greeted = cursor, True
        self.since = self.before = self.turn = None
        self.named = False
        self.keys.clear()


class Outboxes:
    """All of them, by the viewer's node id. ``woken`` is called when one has something to send."""

    def __init__(self) -> None:
        self.held: dict[int, Outbox] = {}
        self.ready: dict[Outbox, None] = {}
        self.patient: dict[Outbox, None] = {}
        """Those with something that their viewers most likely know already: it goes with what comes next, or soon."""
        self._marks: list[tuple[Collection[int], tuple[Key, ...], bool]] = []
        self.woken: Callable[[], Any] = lambda: None

    def add(self, session: Session[Cursor], since: int | Literal["all"], *, named: bool = False) -> Outbox:
        """Serve this session from that tick on."""
        self.remove(self.held.get(session.id))
        box = self.held[session.id] = Outbox(session, since, named)
        self.touch(box)
        return box

    def remove(self, box: Outbox | None) -> None:
        """Serve it no more."""
        if box is not None:
            self.ready.pop(box, None)
            self.patient.pop(box, None)
            if self.held.get(box.session.id) is box:
                del self.held[box.session.id]

    def of(self, session: Session[Cursor]) -> Outbox | None:
        """That session's."""
        box = self.held.get(session.id)
        return box if box is not None and box.session is session else None

    def mark(self, nodes: Collection[int], *keys: Key, later: bool = False) -> None:
        """Those of these nodes that are connected are to be told of these objects; ``later``: there is no hurry."""
        self._marks.append((nodes, keys, later))
        self.woken()

    def sort(self) -> None:
        """Put into each outbox what was marked."""
        marks, self._marks = self._marks, []
        held = self.held
        for nodes, keys, later in marks:
            due = self.patient if later else self.ready
            for node in held.keys() & nodes:
                box = held[node]
                box.keys.update(keys)
                due[box] = None

    def hurry(self) -> None:
        """No patience any more."""
        patient, self.patient = self.patient, {}
        for box in patient:
            self.touch(box)

    def touch(self, box: Outbox) -> None:
        """It has something to send, or room for it."""
        self.ready[box] = None
        self.woken()

    def remind(self, before: int) -> None:
        """Tell who was last told anything before that revision where the map stands, so that it can come back."""
        for box in self.held.values():
            told = box.session.position
            if box.session.greeted and told is not None and told.revision < before:
                box.keys.add(CURSOR)
                self.touch(box)


CURSOR = Key("cursor", 0)
"""Nothing but where the map stands."""
