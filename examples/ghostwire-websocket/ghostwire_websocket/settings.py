"""Settings of ``[plugin.websocket]``."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Za-z.-]+)):(\d{1,5})", re.ASCII)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``listen`` is where the reverse proxy finds this node, ``url`` where peers find the proxy; without them the node
    only dials. ``authorities`` (PEM) are trusted in place of the system's. ``plain`` is for tests: it lets this node
    dial and advertise ``ws://``, and reach its own machine.
    """

    listen: str = ""
    url: str = ""
    authorities: str = ""
    connections: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 256
    plain: bool = False

    def __post_init__(self) -> None:
        if self.listen and (not LISTEN.fullmatch(self.listen) or self.address[1] > 65_535):
            raise ValueError(f"listen is an address and a port, 127.0.0.1:8642 say, not {self.listen!r}")
        if self.url and not self.listen:
            raise ValueError("url needs listen: the address and port to which the proxy passes what comes to that URL")
        if self.listen and not (self.url or self.plain):
            raise ValueError("listen needs url: the wss:// URL at which the proxy is reached")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of ``listen``."""
        match = LISTEN.fullmatch(self.listen)
        if match is None:
            raise ValueError("this node does not listen")
        return match[1] or match[2], int(match[3])
