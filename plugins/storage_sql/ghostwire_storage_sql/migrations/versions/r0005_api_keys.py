"""API keys, and answers to requests that may come again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables, their counters at nought."""
    op.create_table(
        "api_keys",
        sa.Column("id", INTEGER, primary_key=True, autoincrement=False),
        sa.Column("stable_id", sa.Text(), nullable=False, unique=True),
        sa.Column("name", sa.Text(), nullable=False, unique=True),
        sa.Column("digest", sa.LargeBinary(), nullable=False, unique=True),
        sa.Column("created", INTEGER, nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("expires", INTEGER, nullable=True),
        sa.Column("read_only", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("id", INTEGER, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False, unique=True),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("status", INTEGER, nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("created", INTEGER, nullable=False),
    )
    counters = sa.table("counters", sa.column("name", sa.Text()), sa.column("value", INTEGER))
    op.bulk_insert(counters, [{"name": name, "value": 0} for name in ("api_keys", "idempotency_keys")])
