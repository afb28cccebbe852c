"""The first schema: users, nodes, pre-auth keys, addresses, settings, counters and the change log."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
COUNTED = ("revision", "users", "nodes", "pre_auth_keys", "released_addresses")


def _identity() -> sa.Column[int]:
    return sa.Column("id", INTEGER, primary_key=True, autoincrement=False)


def _required(name: str, kind: sa.types.TypeEngine[Any], *, unique: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, unique=unique)


def _user() -> sa.Column[int]:
    owner = sa.ForeignKey("users.id", deferrable=True, initially="DEFERRED")
    return sa.Column("user", INTEGER, owner, nullable=False)


def upgrade() -> None:
    """Make every table, and the counters at nought."""
    _make_users_and_nodes()
    _make_keys_and_addresses()
    _make_bookkeeping()


def _make_users_and_nodes() -> None:
    op.create_table(
        "users",
        _identity(),
        _required("stable_id", sa.Text(), unique=True),
        _required("name", sa.Text(), unique=True),
        _required("issuer", sa.Text()),
        _required("subject", sa.Text()),
        _required("created", INTEGER),
    )
    op.create_table(
        "nodes",
        _identity(),
        _required("stable_id", sa.Text(), unique=True),
        _required("name", sa.Text(), unique=True),
        _user(),
        _required("machine_key", sa.LargeBinary(), unique=True),
        _required("node_key", sa.LargeBinary(), unique=True),
        _required("disco_key", sa.LargeBinary()),
        _required("addresses", sa.Text(), unique=True),
        _required("tags", sa.Text()),
        _required("ephemeral", sa.Boolean()),
        _required("hostname", sa.Text()),
        _required("os", sa.Text()),
        _required("version", sa.Text()),
        _required("created", INTEGER),
        sa.Column("expires", INTEGER),
        sa.Column("pre_auth_key", INTEGER),
    )


def _make_keys_and_addresses() -> None:
    op.create_table(
        "pre_auth_keys",
        _identity(),
        _required("stable_id", sa.Text(), unique=True),
        _required("digest", sa.LargeBinary(), unique=True),
        _user(),
        _required("created", INTEGER),
        _required("expires", INTEGER),
        _required("reusable", sa.Boolean()),
        _required("ephemeral", sa.Boolean()),
        _required("tags", sa.Text()),
        _required("uses", INTEGER),
        sa.Column("used_by", sa.LargeBinary()),
        _required("revoked", sa.Boolean()),
    )
    op.create_table(
        "released_addresses",
        _identity(),
        _required("address", sa.Text()),
        _required("released", INTEGER),
    )


def _make_bookkeeping() -> None:
    op.create_table("settings", sa.Column("name", sa.Text(), primary_key=True), _required("value", sa.Text()))
    counters = op.create_table("counters", sa.Column("name", sa.Text(), primary_key=True), _required("value", INTEGER))
    op.create_table(
        "log",
        sa.Column("revision", INTEGER, primary_key=True, autoincrement=False),
        sa.Column("position", INTEGER, primary_key=True, autoincrement=False),
        _required("mark", sa.LargeBinary()),
        _required("kind", sa.Text()),
        _required("record_id", INTEGER),
        sa.Column("record", sa.LargeBinary()),
    )
    op.bulk_insert(counters, [{"name": name, "value": 0} for name in COUNTED])
