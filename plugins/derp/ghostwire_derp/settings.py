"""The settings of ``[plugin.derp]``."""

from __future__ import annotations

from typing import Annotated

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``stun`` is the UDP address of the STUN server of a relay or coordination server; empty for none.

    ``client_rate`` is how many bytes a second one client of the relay may send for good, ``client_burst`` how many at
    once; 0 for no limit.
    """

    stun: str = "0.0.0.0:3478"
    client_rate: Annotated[int, msgspec.Meta(ge=0)] = 0
    client_burst: Annotated[int, msgspec.Meta(ge=0)] = 0
