"""Settings of ``[plugin.transport_wireguard]``."""

from __future__ import annotations

from typing import Annotated

import msgspec


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``port`` is the UDP port to listen on; 0 takes any free one."""

    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 41_641
