"""Whether records can be those of one mesh: each refers to what is there, and no two hold the same unique value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ghostwire.model import REFERENCES, Record
from ghostwire.server.backup import layout

Records = Mapping[tuple[type[Record], int], Record]


def check(records: Records) -> None:
    """ValueError says which of them does not fit the others."""
    _check_unique(records.values())
    for record in records.values():
        _check_references(record, records)
        _check_texts(record)


def _check_unique(records: Iterable[Record]) -> None:
    holders: dict[tuple[type[Record], str, Any], int] = {}
    for record in records:
        for name in type(record).unique:
            value = getattr(record, name)
            first = holders.setdefault((type(record), name, value), record.id)
            if value is not None and first != record.id:
                raise ValueError(f"{_named(record)} has the {layout.in_words(name)} of {first}")


def _check_references(record: Record, records: Records) -> None:
    for (kind, name), referred in REFERENCES.items():
        if kind is type(record) and (referred, getattr(record, name)) not in records:
            raise ValueError(f"{_named(record)} is of {layout.tag(referred)} {getattr(record, name)}, who is missing")


def _check_texts(record: Record) -> None:
    for name in type(record).__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, str) and "\0" in value:
            raise ValueError(f"{_named(record)} has a NUL character in its {layout.in_words(name)}")


def _named(record: Record) -> str:
    return f"{layout.in_words(layout.tag(type(record)))} {record.id}"
