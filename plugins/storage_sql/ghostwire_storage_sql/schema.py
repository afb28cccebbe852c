"""Brings a database's schema to the newest revision; alembic is imported only where there is something to do."""

from __future__ import annotations

import logging

import sqlalchemy as sa

from ghostwire.errors import StateError

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")
"""Every schema revision this version knows, oldest first."""


def version(connection: sa.Connection) -> str | None:
    """The database's schema revision; None where it is empty."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def absent(where: str) -> StateError:
    """Why nothing is copied from there: nothing of ours ever was."""
    return StateError(f"{where}: no database of a server is there; name the one to copy: --state, or --from URL")


def prepare(connection: sa.Connection, where: str, *, existing: bool = False) -> None:
    """Migrate within the connection's transaction; StateError where the schema is newer than we are, or is to be
    there and is not."""
    held = version(connection)
    if existing and held is None:
        raise absent(where)
    if held == REVISIONS[-1]:
        return
    if held is not None and held not in REVISIONS:
        raise StateError(
            f"{where}: made by a newer GhostWire (schema {held}, this version knows up to {REVISIONS[-1]}); "
            "upgrade, or restore an older backup"
        )
    upgrade(connection)


def upgrade(connection: sa.Connection) -> None:
    """Run the migrations that are missing."""
    from alembic import command
    from alembic.config import Config

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", "ghostwire_storage_sql:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
