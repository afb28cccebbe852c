"""Ephemeral nodes: removed when they have been away for a grace.

After a restart of the server nobody knows who is away, so each has the full grace to come back.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable

from ghostwire.capabilities.storage import Commit
from ghostwire.errors import GhostwireError
from ghostwire.model import Node
from ghostwire.server.timers import Timers


class Ephemeral:
    """Removes by ``remove(id)`` those that were not ``online(id)`` for ``grace`` seconds."""

    def __init__(self, remove: Callable[[int], Awaitable[object]], online: Callable[[int], bool], grace: float) -> None:
        self._remove, self._online, self._grace = remove, online, grace
        self._timers = Timers(self._due, longest=math.inf)
        self._known: set[int] = set()
        self._removals: set[asyncio.Task[None]] = set()

    def start(self, nodes: Iterable[Node]) -> None:
        """Give those that are ephemeral their full grace."""
        for node in nodes:
            self._note(node)

    def begin_anew(self) -> None:
        """It was not known for a while who is online: give those who seem away their full grace."""
        for node in self._known:
            self._wait(node)

    def apply(self, commit: Commit) -> None:
        """Take over one commit."""
        for change in commit.changes:
            if isinstance(change.record, Node):
                self._note(change.record)
            elif change.kind is Node:
                self._known.discard(change.id)
                self._timers.cancel(change.id)

    def arrived(self, node: int) -> None:
        """It has a stream."""
        self._timers.cancel(node)

    def departed(self, node: int) -> None:
        """Its stream ended: from now on its grace runs."""
        self._wait(node)

    async def close(self) -> None:
        """Remove nobody any more."""
        self._timers.close()
        await asyncio.gather(*self._removals, return_exceptions=True)

    def _note(self, node: Node) -> None:
        if not node.ephemeral:
            self._known.discard(node.id)
            self._timers.cancel(node.id)
            return
        self._known.add(node.id)
        if node.id not in self._timers:
            self._wait(node.id)

    def _wait(self, node: int) -> None:
        if node in self._known and not self._online(node):
            self._timers.arm(node, self._grace)

    def _due(self, node: int) -> None:
        task = asyncio.get_running_loop().create_task(self._take_out(node))
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)

    async def _take_out(self, node: int) -> None:
        """A node that comes back while the removal fails has its stream, and no grace runs."""
        if self._online(node):
            return
        try:
            await self._remove(node)
        except GhostwireError:
            self._wait(node)
