"""Routes beyond the mesh, and the policy's versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables, their counters at nought, and room for users' e-mail addresses."""
    with op.batch_alter_table("users") as batch:
        batch.add_column(sa.Column("email", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "routes",
        sa.Column("id", INTEGER, primary_key=True, autoincrement=False),
        sa.Column("node", INTEGER, sa.ForeignKey("nodes.id", deferrable=True, initially="DEFERRED"), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("advertised", sa.Boolean(), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=False),
        sa.Column("created", INTEGER, nullable=False),
    )
    op.create_table(
        "policy_versions",
        sa.Column("id", INTEGER, primary_key=True, autoincrement=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created", INTEGER, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
    )
    counters = sa.table("counters", sa.column("name", sa.Text()), sa.column("value", INTEGER))
    op.bulk_insert(counters, [{"name": name, "value": 0} for name in ("routes", "policy_versions")])
