"""What a node says of its transports."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class TransportState(StrEnum):
    """Where a transport is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    """It could not be started."""
    RESTARTING = "restarting"
    """It ran and failed, and another is to be started."""


class TransportStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A transport. ``isolated``: it runs in a process of its own; ``restarts`` counts the attempts after the first;
    ``trouble`` is what went wrong last, in one line, and empty a minute after. ``measures`` confine that process, and
    ``lacking`` are those that this system lacks, each with the reason."""

    name: str
    plugin: str = ""
    isolated: bool = False
    state: TransportState
    restarts: int = 0
    trouble: str = ""
    measures: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
