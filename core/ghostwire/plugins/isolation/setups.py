"""What a child is told at its start: its confinement, and nothing of the daemon's."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from ghostwire.plugins.isolation.protocol import Setup
from ghostwire.system.sandbox.users import own_user

MEMORY: Final = 384 << 20
"""Bytes that a plugin's process may hold."""


def setup_of(plugin: str, table: dict[str, Any], **more: Any) -> Setup:
    """The Setup of a child of this process; ``more`` are further fields."""
    path = tuple(entry for entry in map(os.path.abspath, filter(None, sys.path)) if os.path.exists(entry))
    return Setup(
        plugin=plugin, path=path, table=table, parent=os.getpid(), memory=MEMORY, user=own_user(plugin), **more
    )
