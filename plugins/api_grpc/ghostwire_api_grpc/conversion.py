"""Between our own values and protobuf messages, by the names of fields, which are the same on both sides.

A sequence in place of a message gives its fields in order, or its one repeated field; so does each item of a mapping in
place of a list of messages. None is absent, and what the other side does not know is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from ghostwire.keys import PublicKey


class Field(NamedTuple):
    """What is known of a message's field."""

    name: str
    message: bool
    repeated: bool
    mapping: bool
    raw: bool


def fill(message: Any, value: Any) -> Any:
    """The message with what the value (a struct, a mapping, a sequence) has of its fields."""
    fields = fields_of(message.DESCRIPTOR)
    for field, item in _items(fields, value):
        if item is not None:
            _put(message, field, item)
    return message


def read(message: Any) -> dict[str, Any]:
    """What is set in a message, as JSON has it; one with a single repeated field is a list."""
    return {field.name: _plain(field, value) for field, value in message.ListFields()}


@cache
def fields_of(descriptor: Any) -> tuple[Field, ...]:
    """A message's fields, in order."""
    return tuple(map(_field, descriptor.fields))


def is_list(descriptor: Any) -> bool:
    """Whether the message is nothing but a list."""
    fields = fields_of(descriptor)
    return len(fields) == 1 and fields[0].repeated


def _field(found: Any) -> Field:
    inner = found.message_type
    mapping = inner is not None and inner.GetOptions().map_entry
    return Field(
        found.name, inner is not None and not mapping, found.is_repeated, mapping, found.type == found.TYPE_BYTES
    )


def _items(fields: tuple[Field, ...], value: Any) -> Any:
    if isinstance(value, Mapping):
        return ((field, value.get(field.name)) for field in fields)
    if isinstance(value, list | tuple | frozenset):
        whole = len(fields) == 1 and fields[0].repeated
        return [(fields[0], value)] if whole else zip(fields, value, strict=False)
    return ((field, getattr(value, field.name, None)) for field in fields)


def _put(message: Any, field: Field, item: Any) -> None:
    if field.mapping:
        getattr(message, field.name).update(item)
    elif field.message and field.repeated:
        target = getattr(message, field.name)
        for each in item.items() if isinstance(item, Mapping) else item:
            fill(target.add(), each)
    elif field.message:
        inner = getattr(message, field.name)
        inner.SetInParent()
        fill(inner, item)
    elif field.repeated:
        getattr(message, field.name).extend([_scalar(field, each) for each in item] if item else ())
    else:
        setattr(message, field.name, _scalar(field, item))


def _scalar(field: Field, value: Any) -> Any:
    if isinstance(value, PublicKey):
        return value.raw if field.raw else str(value)
    return value


def _plain(field: Any, value: Any) -> Any:
    if field.message_type is None:
        return list(value) if field.is_repeated else value
    if field.is_repeated:
        return [read(each) for each in value]
    inner = read(value)
    return inner.get(field.message_type.fields[0].name, []) if is_list(field.message_type) else inner
