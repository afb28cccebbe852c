"""Keeps the change log at a bounded length; who was away for longer than it reaches begins with a full map."""

from __future__ import annotations

import asyncio
import logging

from ghostwire.capabilities.storage import Storage
from ghostwire.errors import GhostwireError
from ghostwire.server.maps import Maps
from ghostwire.server.mesh import LiveMesh

EVERY = 3600.0
"""Seconds between two compactions."""


class Compaction:
    """Forgets all but the last ``keep`` revisions."""

    def __init__(self, storage: Storage, mesh: LiveMesh, maps: Maps, keep: int, log: logging.Logger) -> None:
        self._storage, self._mesh, self._maps, self._keep, self._log = storage, mesh, maps, keep, log
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Compact now and then."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="compaction")

    async def close(self) -> None:
        """Stop; harmless when called twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def compact(self) -> None:
        """Compact at once."""
        before = self._mesh.state.revision - self._keep + 1
        if before > 1:
            self._maps.compact(before)
            await self._storage.compact(before)

    async def _run(self) -> None:
        while True:
            try:
                await self.compact()
            except GhostwireError as error:
                self._log.error("cannot compact the change log: %s", error)
            await asyncio.sleep(EVERY)
