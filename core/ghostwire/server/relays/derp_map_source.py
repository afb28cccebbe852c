"""Keeps the records of a DERP map's relays as the file or URL has them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from ghostwire.capabilities.storage import Transaction
from ghostwire.errors import Conflict, GhostwireError
from ghostwire.model import Relay
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.relays import derp_map
from ghostwire.server.relays.fetching import Text, read
from ghostwire.server.relays.records import DERP_MAP, OWN

EVERY_URL, EVERY_FILE = 600.0, 30.0
"""Seconds between two looks."""

Read = Callable[[str, str], Text | None]


class DerpMapSource:
    """``place`` is a path or URL, or empty for none. A map that can't be had, or is wrong, leaves all as it is."""

    def __init__(self, mesh: LiveMesh, place: str, log: logging.Logger, *, read: Read = read) -> None:
        self._mesh, self._place, self._log, self._read = mesh, place, log, read
        self._mark = self._said = ""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look now, and ever again; what an earlier map had goes where there is none any more."""
        if self._place:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="DERP map")
        elif any(relay.source == DERP_MAP for relay in self._mesh.list(Relay)):
            await self._store([], "")

    async def close(self) -> None:
        """Stop; harmless when called twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def look(self) -> None:
        """Read the map once; an error is logged, unless it is the same as before."""
        try:
            text = await asyncio.to_thread(self._read, self._place, self._mark)
            if text is not None:
                await self._store(derp_map.parse(text.content), text.mark)
            self._said = ""
        except GhostwireError as error:
            self._complain(f"the DERP map {self._place} is not used: {str(error).removeprefix(f'{self._place}: ')}")

    def _complain(self, trouble: str) -> None:
        if trouble != self._said:
            self._said = trouble
            self._log.error("%s", trouble)

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(EVERY_URL if "://" in self._place else EVERY_FILE)

    async def _store(self, relays: Sequence[Relay], mark: str) -> None:
        changed = await self._mesh.write(lambda transaction: reconcile(transaction, relays, self._mesh.now()))
        self._mark = mark
        if changed:
            self._log.info("relays in the DERP map: %d, of them new, changed or gone: %d", len(relays), changed)


def reconcile(transaction: Transaction, relays: Sequence[Relay], now: int) -> int:
    """Make the records those of the map; how many were written or deleted. Conflict where another relay is in the way.

    What the operator decides here, capacity and draining, stays.
    """
    held = {relay.name: relay for relay in transaction.find(Relay, source=DERP_MAP)}
    others = [relay for relay in transaction.find(Relay) if relay.source != DERP_MAP]
    wanted = {relay.name for relay in relays}
    gone = [relay for name, relay in held.items() if name not in wanted]
    for relay in gone:
        transaction.delete(Relay, relay.id)
    return len(gone) + sum(_put(transaction, relay, held.get(relay.name), others, now) for relay in relays)


def _put(transaction: Transaction, relay: Relay, held: Relay | None, others: Sequence[Relay], now: int) -> bool:
    _check(relay, others)
    if held is None:
        fresh = msgspec.structs.replace(relay, id=transaction.new_id(Relay), created=now)
    else:
        kept = {name: getattr(held, name) for name in ("id", "created", "capacity", "draining")}
        fresh = msgspec.structs.replace(relay, **kept)
    if fresh == held:
        return False
    transaction.put(fresh)
    return True


def _check(relay: Relay, others: Sequence[Relay]) -> None:
    """Conflict where the mesh's own relays have the name, or the region, for something else."""
    where = f"region {relay.region} ({relay.region_name})"
    for other in others:
        if other.region == relay.region and other.region_name != relay.region_name:
            raise Conflict(f"{where}: in this mesh it is called {other.region_name}")
        if other.name == relay.name:
            raise Conflict(f"{where}, node {relay.name}: another relay of this mesh has that name")
    if relay.name == OWN:
        raise Conflict(f"{where}, node {relay.name}: the server's own relay is called that")
