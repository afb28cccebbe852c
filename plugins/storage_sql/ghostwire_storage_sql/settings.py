"""The settings of ``[plugin.storage_sql]``."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``url`` is an SQLAlchemy URL (``sqlite:////var/lib/mesh.db``); empty: ``ghostwire.db`` in the state folder."""

    url: str = ""
