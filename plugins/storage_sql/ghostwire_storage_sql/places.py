"""Which database a URL names."""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa

from ghostwire.engine import Entropy
from ghostwire.errors import StateError
from ghostwire_storage_sql.database import Database
from ghostwire_storage_sql.sqlite import SqliteDatabase

SETTING = "the database's URL"
TRY = "sqlite:////path/to/file or postgresql://user@host/database"

POSTGRES = ("postgresql://", "postgres://", "postgresql+psycopg://")
INSTALL = "install it by: pip install 'ghostwire-mesh[postgresql]'"


def database(url: str, state: Path, entropy: Entropy) -> Database:
    """The database of this URL, not yet opened; ``ghostwire.db`` in ``state`` without one. StateError for others."""
    if url.startswith(POSTGRES):
        return _postgres(url, entropy)
    if not url:
        return SqliteDatabase(Path(os.path.abspath(state / "ghostwire.db")), entropy)
    parsed = _parsed(url)
    if parsed.drivername == "sqlite" and parsed.database and not parsed.host:
        return SqliteDatabase(_file(parsed), entropy)
    if parsed.drivername == "libsql" and parsed.database and not parsed.host:
        return _libsql(_file(parsed), entropy)
    raise StateError(f"{SETTING}: {parsed.drivername}:// like this names no database; try {TRY}")


def _file(url: sa.URL) -> Path:
    """The file that this URL names, by its whole path and nothing else."""
    scheme, path = url.drivername, str(url.database)
    if url.query:
        raise StateError(f"{SETTING}: {scheme}:// takes no options; leave out {', '.join(url.query)}")
    if not os.path.isabs(path):
        raise StateError(f"{SETTING}: {path} is relative; give the absolute path: {scheme}:///{os.path.abspath(path)}")
    return Path(os.path.abspath(path))


def _libsql(path: Path, entropy: Entropy) -> Database:
    try:
        return SqliteDatabase(path, entropy, "sqlite+libsql")
    except (ImportError, sa.exc.NoSuchModuleError):
        text = "libSQL's library is missing; install it by: pip install 'ghostwire-mesh[libsql]'"
        raise StateError(f"{SETTING}: {text}") from None


def _postgres(url: str, entropy: Entropy) -> Database:
    try:
        from ghostwire_storage_sql.link import Target
        from ghostwire_storage_sql.postgres import PostgresDatabase
    except ImportError as error:
        raise StateError(f"{SETTING}: PostgreSQL's library is missing ({error}); {INSTALL}") from None
    return PostgresDatabase(Target(f"postgresql://{url.partition('://')[2]}"), entropy)


def _parsed(url: str) -> sa.URL:
    try:
        return sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise StateError(f"{SETTING}: this is not a database URL; try {TRY}") from None
