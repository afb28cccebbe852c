"""What storage_sql offers: the storage ``sql``."""

from __future__ import annotations

from collections.abc import Iterator

from ghostwire import Provider, ServerContext, Storage, hookimpl
from ghostwire_storage_sql.settings import Settings

LIBRARIES = ("alembic", "sqlalchemy")

__all__ = ["LIBRARIES", "Settings", "ghostwire_storages"]


@hookimpl
def ghostwire_storages() -> Iterator[Provider[Storage]]:
    """The SQL storage."""
    yield Provider("sql", create)


def create(context: ServerContext) -> Storage:
    """The storage of this context's settings, not yet opened."""
    from ghostwire_storage_sql.storage import SqlStorage

    return SqlStorage(context.state, context.settings.url, context.entropy, context.log)
