"""What ghostwire.toml says under ``[plugin.api_grpc]``."""

from __future__ import annotations

from typing import Annotated

import msgspec


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is served, and how many. ``behind_proxy``: callers without TLS, which a proxy of the operator's ends."""

    behind_proxy: bool = False
    max_sessions: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    max_sessions_per_address: Annotated[int, msgspec.Meta(ge=1)] = 256
