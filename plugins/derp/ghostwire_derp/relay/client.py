"""One client's connection, and what the relay knows of it."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final

from ghostwire_derp.bucket import Bucket
from ghostwire_derp.relay.outlet import Outgoing, Outlet

Closing = Callable[["Client", str], None]
"""Closes a client, counted under this reason; an empty one is not counted."""


class Role(IntEnum):
    """Who a client is: a node, a process of this same relay, or another relay of the region."""

    NODE = 0
    FELLOW = 1
    SIBLING = 2


class Client(Outlet):
    """``key`` is empty until the login. ``heard_by`` are the keys that got packets of this one.

    ``rate`` bounds what is read of it, ``notices`` what it is told of keys that are not here.
    """

    __slots__ = ("address", "alive_at", "close", "heard_by", "key", "notices", "ponged", "prober", "rate", "role")

    def __init__(self, outgoing: Outgoing, address: str, close: Closing) -> None:
        super().__init__(outgoing)
        self.address, self.close = address, close
        self.key = b""
        self.role = Role.NODE
        self.prober = False
        self.heard_by: set[bytes] = set()
        self.rate: Bucket | None = None
        self.notices: Bucket | None = None
        self.alive_at = 0
        self.ponged = -1

    @property
    def for_relay(self) -> bool:  # type: ignore[override]
        """Whether it is another relay."""
        return self.role is not Role.NODE

    def lost(self) -> None:
        """The stream is over."""
        self.close(self, "")

    def give_up(self) -> None:
        """It does not read."""
        self.close(self, "slow")


NOTICE_RATE: Final = 1
NOTICE_BURST: Final = 3
"""PeerGone frames a second, and at once, for packets to keys that are not here."""
