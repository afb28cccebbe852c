"""All records as the writer's thread sees them: what is committed, and the works that wait for their COMMIT.

Every change is made in place and noted in a journal, so that one work, or all of them, can be undone. Rules that the
database would enforce (unique values, references) are enforced here first, while the work that breaks them can still be
told. It holds the very objects that the server's memory holds, so it costs an index and no copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from ghostwire.capabilities.storage import Change
from ghostwire.errors import Conflict, Refused
from ghostwire.model import REFERENCES, Record
from ghostwire_storage_sql.tables import MAPPED

R = TypeVar("R", bound=Record)
Place = tuple[type[Record], int]


class Memory:
    """A `Transaction` on records in memory. ``journal`` takes back what was done since its beginning."""

    def __init__(self, records: Iterable[Record], settings: dict[str, str], counters: dict[str, int]) -> None:
        self._records: dict[type[Record], dict[int, Record]] = {kind: {} for kind in MAPPED}
        self._holders: dict[tuple[type[Record], str], dict[Any, int]] = {
            (kind, field): {} for kind in MAPPED for field in kind.unique
        }
        self._settings, self._counters = settings, counters
        for record in records:
            self._set((type(record), record.id), record)
        self.journal: list[Callable[[], None]] = []
        self.changes: dict[Place, Record | None] = {}
        self.changed_settings: dict[str, str] = {}
        self.changed_counters: dict[str, int] = {}

    @property
    def records(self) -> tuple[Record, ...]:
        """All of them, by kind, then by id."""
        return tuple(held[id_] for held in self._records.values() for id_ in sorted(held))

    @property
    def settings(self) -> Mapping[str, str]:
        """All named values."""
        return self._settings

    @property
    def counters(self) -> Mapping[str, int]:
        """The last id of each kind, by the name of its table."""
        return self._counters

    def get(self, kind: type[R], id_: int) -> R | None:
        """The record of that id."""
        return self._records[kind].get(id_)  # type: ignore[return-value]

    def find(self, kind: type[R], **equal: Any) -> Sequence[R]:
        """Records whose fields have these values, by id; by an index where one of the fields is unique."""
        candidates: Iterable[R] = self._candidates(kind, equal)
        return [record for record in candidates if all(getattr(record, name) == equal[name] for name in equal)]

    def new_id(self, kind: type[Record]) -> int:
        """An id for this kind that no record had or will have."""
        name = MAPPED[kind].name
        number = self._counters[name] + 1
        self._counters[name] = self.changed_counters[name] = number
        return number

    def put(self, record: Record) -> None:
        """Insert or replace; Conflict where another record holds a unique value, or one it refers to is missing.

        Refused for a NUL in a text, which PostgreSQL can't keep: here it costs one work, there the whole commit.
        """
        place = (type(record), record.id)
        self._check(record)
        self._change(place, record)

    def delete(self, kind: type[Record], id_: int) -> None:
        """Remove; Conflict where another record refers to it."""
        if id_ in self._records[kind]:
            self._check_unused(kind, id_)
            self._change((kind, id_), None)

    def setting(self, name: str) -> str | None:
        """A named value of the whole mesh."""
        return self._settings.get(name)

    def set_setting(self, name: str, value: str) -> None:
        """Store a named value."""
        old, changed = self._settings.get(name), self.changed_settings.get(name)

        def undo() -> None:
            _restore(self._settings, name, old)
            _restore(self.changed_settings, name, changed)

        self.journal.append(undo)
        self._settings[name] = self.changed_settings[name] = value

    def follow(self, changes: Sequence[Change]) -> None:
        """Take over another server's commit. Old records go first, so that a unique value may pass over."""
        for change in changes:
            self._set((change.kind, change.id), None)
        for change in changes:
            self._set((change.kind, change.id), change.record)

    def take(self, settings: dict[str, str], counters: dict[str, int]) -> None:
        """Take over all settings and counters as they are in the database, between two works."""
        self._settings, self._counters = settings, counters

    def undo(self, length: int = 0) -> None:
        """Take back what was done since the journal had this length."""
        while len(self.journal) > length:
            self.journal.pop()()

    def settle(self) -> None:
        """What was done is committed, or undone: begin anew."""
        self.journal.clear()
        self.changes, self.changed_settings, self.changed_counters = {}, {}, {}

    def _candidates(self, kind: type[R], equal: dict[str, Any]) -> Iterable[R]:
        held = self._records[kind]
        for name in equal:
            if name in kind.unique and equal[name] is not None:
                id_ = self._holders[kind, name].get(equal[name])
                return [] if id_ is None else [held[id_]]  # type: ignore[list-item]
        return [held[id_] for id_ in sorted(held)]  # type: ignore[misc]

    def _check(self, record: Record) -> None:
        kind = type(record)
        for name in kind.__struct_fields__:
            value = getattr(record, name)
            if isinstance(value, str) and "\0" in value:
                raise Refused(f"{kind.__name__.lower()}: {name.replace('_', ' ')} holds a NUL character; leave it out")
        for name, value in _held(record):
            holder = self._holders[kind, name].get(value)
            if holder is not None and holder != record.id:
                raise Conflict(f"{kind.__name__.lower()} {holder} has the same {name.replace('_', ' ')}")
        for (referring, name), referred in REFERENCES.items():
            if referring is kind and getattr(record, name) not in self._records[referred]:
                raise Conflict(f"there is no {referred.__name__.lower()} {getattr(record, name)}")

    def _check_unused(self, kind: type[Record], id_: int) -> None:
        for (referring, name), referred in REFERENCES.items():
            if referred is kind and any(getattr(other, name) == id_ for other in self._records[referring].values()):
                raise Conflict(f"{kind.__name__.lower()} {id_} still has a {referring.__name__.lower()}")

    def _change(self, place: Place, record: Record | None) -> None:
        kind, id_ = place
        old, known = self._records[kind].get(id_), place in self.changes
        changed = self.changes.get(place)

        def undo() -> None:
            self._set(place, old)
            if known:
                self.changes[place] = changed
            else:
                del self.changes[place]

        self.journal.append(undo)
        self._set(place, record)
        self.changes[place] = record

    def _set(self, place: Place, record: Record | None) -> None:
        kind, id_ = place
        old = self._records[kind].pop(id_, None)
        if old is not None:
            for name, value in _held(old):
                del self._holders[kind, name][value]
        if record is not None:
            self._records[kind][id_] = record
            for name, value in _held(record):
                self._holders[kind, name][value] = id_


def _held(record: Record) -> Iterator[tuple[str, Any]]:
    """The unique values that a record holds; None is no value, and any number of records may have it."""
    values = ((name, getattr(record, name)) for name in type(record).unique)
    return (held for held in values if held[1] is not None)


def _restore(values: dict[str, str], name: str, old: str | None) -> None:
    if old is None:
        values.pop(name, None)
    else:
        values[name] = old
