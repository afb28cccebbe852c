"""Looks at the network at the start, when links, relays or the home change, and every 5 minutes; chooses the home."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import msgspec

from ghostwire import Transport
from ghostwire.engine import SECOND
from ghostwire.errors import GhostwireError, Unavailable
from ghostwire.keys import NodeKey
from ghostwire.node.netcheck.home import HomeChoice
from ghostwire.node.netcheck.measuring import Measuring
from ghostwire.node.netcheck.report import NetcheckReport
from ghostwire.node.netcheck.results import Results
from ghostwire.node.parts import Parts
from ghostwire.node.relays import Relays
from ghostwire.node.waiters import Waiters

INTERVAL = 300 * SECOND
WATCH = 15 * SECOND
"""Time between two glances at whether the home is still connected. While it is not, the network is looked at after so
long, then ever more rarely."""
LOST = 60 * SECOND
"""How long a home may not let this node in, though it answers, until another is taken."""
SHUN = 600 * SECOND
"""How long such a region is no home then."""


class Netcheck:
    """Works from `start` to `close`; what the demux finds to be STUN goes to ``measuring``.

    ``connected`` says whether the server is reached; ``changed`` is called when home or mapped endpoints are others.
    """

    def __init__(
        self,
        parts: Parts,
        node: NodeKey,
        relays: Relays,
        connected: Callable[[], bool],
        changed: Callable[[], object],
    ) -> None:
        self._parts, self._clock, self._relays = parts, parts.clock, relays
        self._connected, self._changed = connected, changed
        self.measuring = Measuring(parts)
        self._choice = HomeChoice(node, relays.home)
        self._task: asyncio.Task[None] | None = None
        self._woken, self._full = asyncio.Event(), True
        self._waiting = Waiters[NetcheckReport]()
        self._looked = self._looked_fully = -INTERVAL
        self._latencies: Mapping[int, int] = {}
        self._network = 0
        """Counts the changes of this machine's links: what was measured across one says nothing."""
        self._lost_since: int | None = None
        self._patience = WATCH
        self._shunned: dict[int, int] = {}
        self.report: NetcheckReport | None = None

    def start(self, sender: Transport | None) -> None:
        """Begin, with the transport that sends to bare addresses; the first look is as soon as there are relays."""
        self.measuring.asking.sender = sender
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Stop; harmless when called twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._waiting.fail(_down())

    @property
    def mapped(self) -> Sequence[str]:
        """This node's endpoints as relays see them."""
        if self.report is None:
            return ()
        return [text for text in (self.report.mapped_ipv4, self.report.mapped_ipv6) if text]

    async def look(self) -> NetcheckReport:
        """A full look now."""
        self.hurry()
        return await self._waiting.wait()

    def hurry(self) -> None:
        """Look again, at everything: links or relays changed."""
        self._full = True
        self._woken.set()

    async def glance(self) -> None:
        """Ask a few relays how they see this node, now; whoever listens at ``measuring.asking`` hears it."""
        relays = self._relays
        await self.measuring.glance(relays.regions, relays.home, self._latencies)

    def links_changed(self) -> None:
        """What relays saw of this node is no longer so, nor how far they are."""
        self._network += 1
        self._latencies = {}
        self._choice.forget()
        self.measuring.cut_short()
        if self.report is not None:
            self.report = msgspec.structs.replace(self.report, mapped_ipv4="", mapped_ipv6="", mapping_varies=None)
        self.hurry()

    async def _work(self) -> None:
        while True:
            await self._until_due()
            asked, self._waiting = self._waiting, Waiters()
            try:
                asked.succeed(await self._look())
            except asyncio.CancelledError:
                asked.fail(_down())
                raise
            except Exception as error:
                self._parts.log.exception("internal error in netcheck")
                asked.fail(GhostwireError(f"internal error: {type(error).__name__}; see the node's log"))

    async def _until_due(self) -> None:
        while not self._woken.is_set() and not self._due():
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH / SECOND if self._relays.all else None):
                    await self._woken.wait()
        self._woken.clear()

    def _due(self) -> bool:
        now, relays = self._clock.now(), self._relays
        if relays.home is None or relays.connected():
            self._lost_since, self._patience = None, WATCH
            return bool(relays.all) and now - self._looked >= INTERVAL
        self._lost_since = self._lost_since or now
        due = now - self._looked >= self._patience
        self._patience = min(INTERVAL, 2 * self._patience) if due else self._patience
        return due

    async def _look(self) -> NetcheckReport:
        now = self._clock.now()
        full = self._full or now - self._looked_fully >= INTERVAL or not self._latencies
        self._full, self._looked = False, now
        self._looked_fully = now if full else self._looked_fully
        network, results = self._network, await self._measure(full=full)
        while network != self._network:
            self._full, full, network = False, True, self._network
            results = await self._measure(full=True)
        self._latencies = results.latencies
        self._choose(results)
        before, self.report = self.report, self._report(results, full=full)
        if before is None or _told(before) != _told(self.report):
            self._changed()
        return self.report

    async def _measure(self, *, full: bool) -> Results:
        relays = self._relays
        return await self.measuring.look(relays.regions, relays.home, self._latencies, full=full)

    def _choose(self, results: Results) -> None:
        relays, now = self._relays, self._clock.now()
        home = self._choice.choose(
            results.latencies,
            relays.regions.keys(),
            now,
            connected=self._connected(),
            heard=relays.heard(),
            closing=self._closed(now),
        )
        if relays.move(home) and relays.home is not None:
            self._parts.log.info("home relay region: %s (%s)", relays.region_name(home), self._choice.reason)

    def _closed(self, now: int) -> set[int]:
        """The regions that take nobody new, or have not let this node in."""
        if self._relays.home is not None and self._lost_since is not None and now - self._lost_since >= LOST:
            self._shunned[self._relays.home] = now + SHUN
            self._lost_since = None
        self._shunned = {region: end for region, end in self._shunned.items() if end > now}
        closing = {region for region, each in self._relays.regions.items() if all(relay.draining for relay in each)}
        return closing | self._shunned.keys()

    def _report(self, results: Results, *, full: bool) -> NetcheckReport:
        return results.report(
            at=self._parts.clock.wall() // SECOND,
            before=None if full else self.report,
            home=self._relays.home,
            reason=self._choice.reason,
        )


def _down() -> Unavailable:
    return Unavailable("the node was taken down")


def _told(report: NetcheckReport) -> Sequence[object]:
    """What others are told of a report."""
    return report.home, report.mapped_ipv4, report.mapped_ipv6
