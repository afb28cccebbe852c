"""No two nodes have one disco key."""

from __future__ import annotations

import os

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY_BYTES = 32


def upgrade() -> None:
    """Leave each key to the first node that has it; the others get a key of nobody's until they bring their own."""
    nodes = sa.table("nodes", sa.column("id", sa.BigInteger()), sa.column("disco_key", sa.LargeBinary()))
    connection, taken = op.get_bind(), set()
    for id_, key in connection.execute(sa.select(nodes.c.id, nodes.c.disco_key).order_by(nodes.c.id)).all():
        if key in taken:
            connection.execute(sa.update(nodes).where(nodes.c.id == id_).values(disco_key=os.urandom(KEY_BYTES)))
        taken.add(key)
    with op.batch_alter_table("nodes") as batch:
        batch.create_unique_constraint("nodes_disco_key", ["disco_key"])
