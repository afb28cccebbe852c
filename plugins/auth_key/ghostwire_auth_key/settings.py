"""The settings of ``[plugin.auth_key]``."""

from __future__ import annotations

from typing import Annotated

import msgspec


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a new key lives in seconds where its maker does not say, and at most."""

    ttl_seconds: Annotated[int, msgspec.Meta(ge=1)] = 3600
    max_ttl_seconds: Annotated[int, msgspec.Meta(ge=1)] = 366 * 86400
