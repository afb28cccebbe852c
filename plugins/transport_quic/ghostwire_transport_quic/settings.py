"""Settings of ``[plugin.transport_quic]``."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``port`` is the UDP port to listen on, 0 any free one; without it 41642, or any free one where that is in use.

    ``library`` is the QUIC library: ``auto`` takes qh3 where it is installed and works, else aioquic. ``endpoints`` are
    further ones at which this node is reached, say a port that a router forwards: ``["203.0.113.7:41642"]``.
    """

    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] | None = None
    library: Literal["auto", "aioquic", "qh3"] = "auto"
    endpoints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        from ghostwire.wire.endpoint import parse_endpoint

        for text in self.endpoints:
            parse_endpoint(text)
