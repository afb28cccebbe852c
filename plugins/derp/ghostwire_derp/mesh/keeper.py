"""Keeps one link: opened, counted while it lasts, opened again a while after it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ghostwire import Metrics
from ghostwire.engine import Entropy
from ghostwire.errors import GhostwireError
from ghostwire_derp.mesh.peering import Peering
from ghostwire_derp.mesh.session import Itself

Open = Callable[[], Awaitable[Peering]]


@dataclass(slots=True)
class Tally:
    """All links of a process: how many are open, how often one failed or ended."""

    links: int = 0
    failures: int = 0

    def register(self, metrics: Metrics) -> None:
        """Register the counts."""
        metrics.gauge("ghostwire_relay_mesh_links", "Open links to other relays and workers.", lambda: self.links)
        metrics.counter("ghostwire_relay_mesh_failures_total", "Links that failed or ended.", lambda: self.failures)


class Keeper:
    """``opening`` makes the link; ``retry`` is the least wait in seconds until it is tried again, twice that the most,
    so that relays do not dial in step. A failure is logged at ``level``, the same one again only after a success."""

    def __init__(
        self, name: str, opening: Open, retry: float, level: int, tally: Tally, entropy: Entropy, log: logging.Logger
    ) -> None:
        self._name, self._opening, self._retry, self._level = name, opening, retry, level
        self._tally, self._entropy, self._log = tally, entropy, log
        self._said = ""
        self.task = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        """Whoever turns out to be this relay itself is left alone from then on."""
        while not isinstance(reason := await self._once(), Itself):
            self._tally.failures += 1
            self._say(str(reason))
            chance = int.from_bytes(self._entropy(2)) / 65536
            await asyncio.sleep(self._retry * (1 + chance))
        self._log.info("mesh: %s is this relay itself", self._name)

    async def _once(self) -> GhostwireError:
        """One link from its opening to its end; why it ended."""
        try:
            peering = await self._opening()
        except GhostwireError as error:
            return error
        except Exception as error:
            self._log.exception("internal error in the link to %s", self._name)
            return GhostwireError(f"internal error: {type(error).__name__}")
        try:
            await asyncio.wait((peering.opened, peering.over), return_when=asyncio.FIRST_COMPLETED)
            return await self._lasting(peering) if peering.opened.done() else await peering.over
        finally:
            peering.close()

    async def _lasting(self, peering: Peering) -> GhostwireError:
        self._log.info("mesh: linked to %s", self._name)
        self._said = ""
        self._tally.links += 1
        try:
            return await asyncio.shield(peering.over)
        finally:
            self._tally.links -= 1

    def _say(self, reason: str) -> None:
        if reason != self._said:
            self._said = reason
            self._log.log(self._level, "mesh: no link to %s: %s; trying again", self._name, reason)
