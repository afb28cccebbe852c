"""One look at the network: names resolved, relays asked over STUN, and those that are silent over HTTPS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ghostwire import Buffer, Path
from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.errors import GhostwireError
from ghostwire.model import MapRelay
from ghostwire.node.netcheck import https, plan
from ghostwire.node.netcheck.asking import Asking
from ghostwire.node.netcheck.names import Names
from ghostwire.node.netcheck.results import Results
from ghostwire.node.parts import Parts


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a look takes at most: in seconds, and of that over STUN in nanoseconds."""

    whole: float
    stun: int


UNHURRIED, HURRIED = Patience(5.0, 3 * SECOND), Patience(2.5, SECOND)
MOST_OVER_HTTPS, MOST_OF_A_REGION = 16, 3
"""Regions asked over HTTPS in one look, and relays of each."""
HEAD_START = 0.3
"""Seconds that a relay has to answer before the next of its region is asked too."""
GLANCE, LINGER = SECOND, 100 * MILLISECOND
"""How long a glance waits for answers, and after the first one for more."""


class Measuring:
    """Measures, one look at a time, and glances any time; ``asking`` does so over STUN. ``late`` is called when relays'
    names got addresses too late for a look."""

    def __init__(self, parts: Parts, late: Callable[[], object]) -> None:
        self._parts, self._clock = parts, parts.clock
        self._names = Names(parts.lookup, parts.clock, late)
        self._limit: asyncio.Timeout | None = None
        self.asking = Asking(parts.clock, parts.entropy)

    async def look(
        self,
        regions: plan.Regions,
        home: int | None,
        latencies: Mapping[int, int],
        *,
        full: bool,
        hurried: bool = False,
    ) -> Results:
        """Ask all regions; where it is not to be a ``full`` look, those that were fastest last time, and the home.

        A ``hurried`` one waits less for those that are silent.
        """
        results, patience = Results(regions), HURRIED if hurried else UNHURRIED
        try:
            async with asyncio.timeout(patience.whole) as self._limit:
                addresses = await self._names.resolve(relay for each in regions.values() for relay in each)
                if full:
                    probes, asked, enough = plan.full(regions, addresses), set(regions), None
                else:
                    probes = plan.incremental(regions, addresses, latencies, home)
                    asked, enough = set(plan.fastest(regions, latencies, home)), plan.FASTEST
                awaited = () if home is None else (home,)
                round_ = await self.asking.ask(probes, patience=patience.stun, enough=enough, awaited=awaited)
                results.take(round_)
                silent = asked - results.latencies.keys() if round_.exhausted else ()
                await self._over_https(results, regions, silent)
        except TimeoutError:
            pass
        finally:
            self._limit = None
        return results

    async def glance(self, regions: plan.Regions, home: int | None, latencies: Mapping[int, int]) -> None:
        """Ask a few over STUN at once, those whose addresses are known; what they answer goes to who hears it."""
        addresses = {relay.id: self._names.addresses(relay) for each in regions.values() for relay in each}
        probes = plan.glance(regions, addresses, latencies, home)
        await self.asking.ask(probes, patience=GLANCE, linger=LINGER)

    def cut_short(self) -> None:
        """End the look that is under way: what it finds is no longer so."""
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())

    def close(self) -> None:
        """Wait for no name any more."""
        self._names.close()

    def stun(self, source: Path, datagram: Buffer) -> None:
        """A STUN datagram arrived."""
        self.asking.receive(source, datagram)

    async def _over_https(self, results: Results, regions: plan.Regions, silent: Collection[int]) -> None:
        asked = sorted(silent)[:MOST_OVER_HTTPS]
        tasks = [asyncio.ensure_future(self._ask(results, region, regions[region])) for region in asked]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _ask(self, results: Results, region: int, relays: Sequence[MapRelay]) -> None:
        """The first relay that answers gives its region's round trip; none waits for another that is silent."""
        results.troubles[region] = "no answer in time"
        tasks = [
            asyncio.ensure_future(self._time(results, region, relay, number * HEAD_START))
            for number, relay in enumerate(relays[:MOST_OF_A_REGION])
        ]
        try:
            for each in asyncio.as_completed(tasks):
                if await each:
                    return
        finally:
            for task in tasks:
                task.cancel()

    async def _time(self, results: Results, region: int, relay: MapRelay, delay: float) -> bool:
        """Whether the relay answered."""
        await asyncio.sleep(delay)
        try:
            results.https[region] = await https.round_trip(relay, self._parts.sockets, self._clock)
        except (GhostwireError, OSError) as error:
            results.troubles[region] = str(error)
            self._parts.log.debug("netcheck: %s: %s", relay.name, error)
            return False
        return True
