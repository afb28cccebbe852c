"""What several servers of one database tell each other."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "servers",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("heartbeat", sa.DateTime(timezone=True), nullable=False),
        sa.Column("counter", INTEGER, nullable=False),
        sa.Column("since", INTEGER, nullable=False),
    )
    op.create_table(
        "entries",
        sa.Column("server", sa.Text(), sa.ForeignKey("servers.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("counter", INTEGER, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
    )
    op.create_index("entries_counter", "entries", ["server", "counter"])
