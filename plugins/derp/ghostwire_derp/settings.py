"""The settings of ``[plugin.derp]``."""

from __future__ import annotations

import re
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

    def __post_init__(self) -> None:
        if self.stun:
            split_address(self.stun)


def split_address(text: str) -> tuple[str, int]:
    """``ADDRESS:PORT`` (``[V6]:PORT``, ``:PORT`` for all) into its parts; ValueError says what was expected."""
    parts = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]*)):([0-9]{1,5})", text)
    if parts is None or int(parts[3]) > 65535:
        raise ValueError(f"stun: expected ADDRESS:PORT, for instance 0.0.0.0:3478 or [::1]:3478, not {text!r}")
    return parts[1] or parts[2] or "0.0.0.0", int(parts[3])
