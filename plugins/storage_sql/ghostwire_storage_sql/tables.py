"""How records become rows: one table a kind, one column a field, derived from the record's types.

Keys are stored as their 32 raw bytes, tuples as JSON arrays, everything else as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import sqlalchemy as sa

from ghostwire.keys import PublicKey
from ghostwire.model import (
    REFERENCES,
    ApiKey,
    IdempotencyKey,
    Node,
    PolicyVersion,
    PreAuthKey,
    Record,
    Relay,
    ReleasedAddress,
    Route,
    User,
)

R = TypeVar("R", bound=Record)
Code = Callable[[Any], Any]

NAMES: Mapping[type[Record], str] = {
    User: "users",
    Node: "nodes",
    PreAuthKey: "pre_auth_keys",
    ReleasedAddress: "released_addresses",
    Relay: "relays",
    Route: "routes",
    PolicyVersion: "policy_versions",
    ApiKey: "api_keys",
    IdempotencyKey: "idempotency_keys",
}

Integer = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
metadata = sa.MetaData()


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record: its column's type and how its values travel."""

    name: str
    type: sa.types.TypeEngine[Any]
    nullable: bool
    encode: Code | None = None
    decode: Code | None = None


@dataclass(frozen=True, slots=True)
class Mapped(Generic[R]):
    """A record kind and its table."""

    kind: type[R]
    name: str
    table: sa.Table
    fields: tuple[Field, ...]

    def row(self, record: R) -> list[Any]:
        """The record's values in the order of the columns."""
        values = msgspec.structs.astuple(record)
        return [
            value if field.encode is None or value is None else field.encode(value)
            for field, value in zip(self.fields, values, strict=True)
        ]

    def record(self, row: Sequence[Any]) -> R:
        """A row in the order of the columns as a record."""
        values = {
            field.name: value if field.decode is None or value is None else field.decode(value)
            for field, value in zip(self.fields, row, strict=True)
        }
        return self.kind(**values)


def _raw(key: PublicKey) -> bytes:
    return key.raw


def _tuple(text: str) -> tuple[Any, ...]:
    return tuple(json.loads(text))


def _field(name: str, hint: Any) -> Field:
    options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    kind = next(option for option in options if option is not NoneType)
    nullable = NoneType in options
    if get_origin(kind) is tuple:
        return Field(name, sa.Text(), nullable, json.dumps, _tuple)
    if issubclass(kind, PublicKey):
        return Field(name, sa.LargeBinary(), nullable, _raw, kind)
    if kind is bool:
        return Field(name, sa.Boolean(), nullable, None, bool)
    plain: dict[type, sa.types.TypeEngine[Any]] = {int: Integer, str: sa.Text(), bytes: sa.LargeBinary()}
    return Field(name, plain[kind], nullable)


def _column(kind: type[Record], field: Field) -> sa.Column[Any]:
    referred = REFERENCES.get((kind, field.name))
    keys = [sa.ForeignKey(f"{NAMES[referred]}.id", deferrable=True, initially="DEFERRED")] if referred else []
    return sa.Column(field.name, field.type, *keys, nullable=field.nullable, unique=field.name in kind.unique)


def _map(kind: type[R]) -> Mapped[R]:
    hints = get_type_hints(kind)
    fields = tuple(_field(name, hints[name]) for name in kind.__struct_fields__)
    columns = [_column(kind, field) for field in fields if field.name != "id"]
    identity = sa.Column("id", Integer, primary_key=True, autoincrement=False)
    return Mapped(kind, NAMES[kind], sa.Table(NAMES[kind], metadata, identity, *columns), fields)


MAPPED: Mapping[type[Record], Mapped[Any]] = {kind: _map(kind) for kind in NAMES}
BY_NAME: Mapping[str, Mapped[Any]] = {mapped.name: mapped for mapped in MAPPED.values()}

counters = sa.Table(
    "counters",
    metadata,
    sa.Column("name", sa.Text(), primary_key=True),
    sa.Column("value", Integer, nullable=False),
)
settings = sa.Table(
    "settings",
    metadata,
    sa.Column("name", sa.Text(), primary_key=True),
    sa.Column("value", sa.Text(), nullable=False),
)
log = sa.Table(
    "log",
    metadata,
    sa.Column("revision", Integer, primary_key=True, autoincrement=False),
    sa.Column("position", Integer, primary_key=True, autoincrement=False),
    sa.Column("mark", sa.LargeBinary(), nullable=False),
    sa.Column("kind", sa.Text(), nullable=False),
    sa.Column("record_id", Integer, nullable=False),
    sa.Column("record", sa.LargeBinary(), nullable=True),
)
servers = sa.Table(
    "servers",
    metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    sa.Column("heartbeat", sa.DateTime(timezone=True), nullable=False),
    sa.Column("counter", Integer, nullable=False),
    sa.Column("since", Integer, nullable=False),
)
entries = sa.Table(
    "entries",
    metadata,
    sa.Column("server", sa.Text(), sa.ForeignKey("servers.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.Text(), primary_key=True),
    sa.Column("counter", Integer, nullable=False),
    sa.Column("body", sa.LargeBinary(), nullable=True),
    sa.Index("entries_counter", "server", "counter"),
)
