"""Looks at the network at the start, when links, relays or the home change, and every 5 minutes; chooses the home."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

import msgspec

from ghostwire import Transport
from ghostwire.engine import SECOND
from ghostwire.errors import GhostwireError, Unavailable
from ghostwire.keys import NodeKey
from ghostwire.model import MapRelay
from ghostwire.node.netcheck.captive import captive_portal
from ghostwire.node.netcheck.home import HomeChoice
from ghostwire.node.netcheck.measuring import Measuring
from ghostwire.node.netcheck.report import NetcheckReport
from ghostwire.node.netcheck.results import Results
from ghostwire.node.netcheck.watch import GLIMPSE, INTERVAL, HomeWatch
from ghostwire.node.parts import Parts
from ghostwire.node.portmap.mapping import PortMapping
from ghostwire.node.relays import Relays
from ghostwire.node.waiters import Waiters

PROBE = 3.0
"""Seconds for a router to say which protocols it speaks."""


class Netcheck:
    """Works from `start` to `close`; what the demux finds to be STUN goes to ``measuring``.

    ``connected`` says whether the server is reached; ``changed`` is called when the home is another.
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
        self.measuring = Measuring(parts, self.hurry)
        self._choice = HomeChoice(node, relays.home)
        self._task: asyncio.Task[None] | None = None
        self._woken, self._full = asyncio.Event(), True
        self._waiting = Waiters[NetcheckReport]()
        self._looked = self._looked_fully = -INTERVAL
        self._latencies: Mapping[int, int] = {}
        self._network = 0
        """Counts the changes of this machine's links: what was measured across one says nothing."""
        self._home = HomeWatch(relays, parts.clock, self._home_lost)
        self._hurried = self._asked = False
        self.mapping: PortMapping | None = None
        """Whoever asks the router for a port, where anyone does."""
        self.report: NetcheckReport | None = None

    def start(self, sender: Transport | None) -> None:
        """Begin, with the transport that sends to bare addresses; the first look is as soon as there are relays."""
        self.measuring.asking.sender = sender
        self._home.start()
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Stop; harmless when called twice."""
        self._home.close()
        self.measuring.close()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._waiting.fail(_down())

    async def look(self) -> NetcheckReport:
        """A full look now, and also at what only people want to know: captive portal, the router's protocols."""
        self._asked = True
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
            wanted, self._asked = self._asked, False
            try:
                await self._look()
                asked.succeed(await self._complete(asked=wanted))
            except asyncio.CancelledError:
                asked.fail(_down())
                raise
            except Exception as error:
                self._parts.log.exception("internal error in netcheck")
                asked.fail(GhostwireError(f"internal error: {type(error).__name__}; see the node's log"))

    async def _until_due(self) -> None:
        while not self._woken.is_set() and not self._home.due(self._looked):
            with suppress(TimeoutError):
                async with asyncio.timeout(GLIMPSE / SECOND if self._relays.all else None):
                    await self._woken.wait()
        self._woken.clear()

    def _home_lost(self) -> None:
        self._hurried = True
        self._woken.set()

    async def _look(self) -> None:
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
        if before is None or before.home != self.report.home:
            self._changed()

    async def _complete(self, *, asked: bool) -> NetcheckReport:
        """Add to the report what takes longer and changes nothing: where it was asked for, and where web requests or
        UDP fail."""
        report = self.report
        assert report is not None
        portal, _ = await asyncio.gather(
            self._portal(report, asked=asked or (report.full and _obstructed(report))), self._probe(asked=asked)
        )
        found = self.mapping.found if self.mapping is not None else report.port_mapping
        mapped = self.mapping.mapped if self.mapping is not None else ""
        self.report = msgspec.structs.replace(report, captive_portal=portal, port_mapping=found, port_mapped=mapped)
        return self.report

    async def _portal(self, report: NetcheckReport, *, asked: bool) -> bool | None:
        return await captive_portal(self._front_doors(), self._parts) if asked else report.captive_portal

    async def _probe(self, *, asked: bool) -> None:
        if asked and self.mapping is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.mapping.probe(), PROBE)

    def _front_doors(self) -> Iterable[MapRelay]:
        """The relays, the nearest first."""
        regions = self._relays.regions
        nearest = sorted(regions, key=lambda region: self._latencies.get(region, INTERVAL))
        return (relay for region in nearest for relay in regions[region])

    async def _measure(self, *, full: bool) -> Results:
        relays, hurried, self._hurried = self._relays, self._hurried, False
        return await self.measuring.look(relays.regions, relays.home, self._latencies, full=full, hurried=hurried)

    def _choose(self, results: Results) -> None:
        relays = self._relays
        home = self._choice.choose(
            results.latencies,
            relays.regions.keys(),
            self._clock.now(),
            connected=self._connected(),
            heard=relays.heard() if relays.connected() else None,
            closing=self._home.closed(),
        )
        if relays.move(home) and relays.home is not None:
            self._parts.log.info("home relay region: %s (%s)", relays.region_name(home), self._choice.reason)

    def _report(self, results: Results, *, full: bool) -> NetcheckReport:
        return results.report(
            at=self._parts.clock.wall() // SECOND,
            before=None if full else self.report,
            local=self._parts.platform.local_addresses(),
            home=self._relays.home,
            reason=self._choice.reason,
        )


def _obstructed(report: NetcheckReport) -> bool:
    return not report.udp or any(region.trouble for region in report.regions)


def _down() -> Unavailable:
    return Unavailable("the node was taken down")
