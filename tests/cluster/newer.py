"""A newer release, made of this one: nodes have one more field, there is one more kind of record, and a migration."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import psycopg

from ghostwire.model import pack

ROOT = Path(__file__).parents[2]
REVISION = "9999"
MIGRATION = '''"""A newer release's."""
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{before}"
branch_labels = None
depends_on = None

def upgrade():
    op.add_column("nodes", sa.Column("comment", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "widgets",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text(), nullable=False, unique=True),
    )
    op.execute("INSERT INTO counters (name, value) VALUES ('widgets', 0)")
'''
WIDGET = '''class Widget(Record, frozen=True, kw_only=True):
    """What older releases do not know."""

    unique = ("name",)

    name: str


RECORDS: tuple[type[Record], ...] = (
'''


def release(folder: Path) -> Path:
    """The newer release, in a folder to look for modules in first."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "core" / "ghostwire", folder / "ghostwire", ignore=ignore)
    storage = folder / "ghostwire_storage_sql"
    shutil.copytree(ROOT / "plugins" / "storage_sql" / storage.name, storage, ignore=ignore)
    model = folder / "ghostwire" / "model.py"
    _edit(
        model, "    pre_auth_key: int | None = None\n", '    pre_auth_key: int | None = None\n    comment: str = ""\n'
    )
    _edit(model, "RECORDS: tuple[type[Record], ...] = (\n", WIDGET)
    _edit(model, "    IdempotencyKey,\n)", "    IdempotencyKey,\n    Widget,\n)")
    _edit(storage / "tables.py", "    User,\n)", "    User,\n    Widget,\n)")
    _edit(
        storage / "tables.py",
        '    IdempotencyKey: "idempotency_keys",\n',
        '    IdempotencyKey: "idempotency_keys", Widget: "widgets",\n',
    )
    before = _newest(storage)
    _edit(storage / "schema.py", f'"{before}")', f'"{before}", "{REVISION}")')
    (storage / "migrations" / "versions" / "r9999_newer.py").write_text(MIGRATION.format(before=before))
    return folder


def write_widget(url: str) -> int:
    """What a server of the newer release does when it stores one; the revision."""
    with closing(psycopg.connect(url)) as connection, connection.transaction():
        taken = "UPDATE counters SET value = value + 1 WHERE name = 'revision' RETURNING value"
        row = connection.execute(taken).fetchone()
        assert row is not None
        log = "INSERT INTO log (revision, position, mark, kind, record_id, record) VALUES (%s, 0, %s, 'widgets', 1, %s)"
        connection.execute(log, (row[0], b"newer---", pack({"id": 1, "name": "first"})))
        connection.execute("INSERT INTO widgets (id, name) VALUES (1, 'first')")
        connection.execute("UPDATE counters SET value = 1 WHERE name = 'widgets'")
        connection.execute("NOTIFY ghostwire_log, 'somebody'")
    return int(row[0])


def _newest(storage: Path) -> str:
    versions = (storage / "migrations" / "versions").glob("r[0-9]*_*.py")
    return max(path.name[1:5] for path in versions)


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} is no longer as it was"
    path.write_text(text.replace(old, new))
