"""What one server knows of a node that is no record: whether it is online, its last report, and who says so."""

from __future__ import annotations

from dataclasses import dataclass, field

from ghostwire.engine import SECOND
from ghostwire.model import Endpoint
from ghostwire.server.cluster.entries import LATEST, LeaseEntry
from ghostwire.server.nodes.interests import HERE

CHANGES, EVERY = 16, 10
"""Changes of one node's endpoints that others are told at once, and the seconds to one more."""


@dataclass(slots=True)
class Lease:
    """What is known of one node: whether it is connected (``here``: to this server), when it last was (Unix seconds),
    its last report, and which server says so.

    ``at`` is later than all that was written of it, here last at ``wrote``; ``written`` is when and where its last
    report was. ``gap``: a report was missed, of which viewers may have been told elsewhere. ``even`` is when the
    changes of its endpoints that were told have been made up for.
    """

    online: bool = False
    last_seen: int | None = None
    version: tuple[int, int] = (-1, -1)
    endpoints: tuple[Endpoint, ...] = ()
    home: int | None = None
    relay: int | None = None
    down: tuple[str, ...] = ()
    here: bool = False
    told: bool = False
    at: int = 0
    wrote: int = 0
    written: tuple[int, str] = (0, HERE)
    gap: bool = False
    even: int = 0
    others: dict[str, LeaseEntry] = field(default_factory=dict)

    def may_change(self, now: int) -> bool:
        """Whether to tell others of one more change."""
        most = now + CHANGES * EVERY
        self.even = min(max(now, self.even), most)
        if self.even + EVERY > most:
            return False
        self.even += EVERY
        return True

    def follows(self, version: tuple[int, int]) -> bool:
        """Whether no report was made between the last and that one."""
        return version in (self.version, (self.version[0], self.version[1] + 1))

    def write(self, now: int) -> None:
        """Something is written of it here, at this time or as soon after the last as can be."""
        self.at = self.wrote = min(max(now * SECOND, self.at + 1), LATEST)
