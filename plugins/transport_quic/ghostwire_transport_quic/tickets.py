"""Tickets of both sides, in memory: a server's are good for one use, a client keeps the last of each server."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

TICKETS = 1_024


class Tickets:
    """The newest `TICKETS` of them, each by a key, each given out once."""

    def __init__(self) -> None:
        self._held: OrderedDict[bytes, Any] = OrderedDict()

    def keep(self, key: bytes, ticket: Any) -> None:
        """Keep one, instead of another of this key."""
        self._held.pop(key, None)
        self._held[key] = ticket
        if len(self._held) > TICKETS:
            self._held.popitem(last=False)

    def take(self, key: bytes) -> Any:
        """That of this key, which is gone then; None where there is none."""
        return self._held.pop(key, None)

    def __len__(self) -> int:
        return len(self._held)
