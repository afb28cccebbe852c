"""Relays."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table, and its counter at nought."""
    op.create_table(
        "relays",
        sa.Column("id", INTEGER, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text(), nullable=False, unique=True),
        sa.Column("region", INTEGER, nullable=False),
        sa.Column("region_name", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("port", INTEGER, nullable=False),
        sa.Column("stun_port", INTEGER, nullable=False),
        sa.Column("ipv4", sa.Text(), nullable=False),
        sa.Column("ipv6", sa.Text(), nullable=False),
        sa.Column("tls", sa.Boolean(), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary()),
        sa.Column("capacity", INTEGER, nullable=False),
        sa.Column("draining", sa.Boolean(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("stun_fixed", sa.Boolean(), nullable=False),
        sa.Column("created", INTEGER, nullable=False),
        sa.Column("machine_key", sa.LargeBinary(), unique=True),
        sa.Column("digest", sa.LargeBinary(), unique=True),
        sa.Column("expires", INTEGER),
    )
    counters = sa.table("counters", sa.column("name", sa.Text()), sa.column("value", INTEGER))
    op.bulk_insert(counters, [{"name": "relays", "value": 0}])
