"""One look at the network: names resolved, relays asked over STUN, and those that are silent over HTTPS."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ghostwire import Buffer, Path, Transport
from ghostwire.driver import Driver
from ghostwire.errors import GhostwireError
from ghostwire.model import MapRelay
from ghostwire.node.netcheck import https, plan
from ghostwire.node.netcheck.names import Names
from ghostwire.node.netcheck.results import Results
from ghostwire.node.netcheck.round import Round
from ghostwire.node.parts import Parts
from ghostwire.wire.stun import HEADER_BYTES, TRANSACTION_BYTES, mapped_address

PATIENCE = 5.0
"""Seconds that a look takes at most."""
MOST_OVER_HTTPS, MOST_OF_A_REGION = 16, 3
"""Regions asked over HTTPS in one look, and relays of each."""
HEAD_START = 0.3
"""Seconds that a relay has to answer before the next of its region is asked too."""

_TRANSACTION = slice(HEADER_BYTES - TRANSACTION_BYTES, HEADER_BYTES)


class Measuring:
    """Measures, one look at a time. ``sender`` sends to bare addresses; None: STUN is not possible."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._clock = parts, parts.clock
        self._names = Names(parts.lookup, parts.clock)
        self._round: Round | None = None
        self._driver: Driver | None = None
        self.sender: Transport | None = None

    async def look(
        self, regions: plan.Regions, home: int | None, latencies: Mapping[int, int], *, full: bool
    ) -> Results:
        """Ask all regions; where it is not to be a ``full`` look, those that were fastest last time, and the home."""
        results = Results(regions)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                addresses = await self._names.resolve(relay for each in regions.values() for relay in each)
                if full:
                    round_, asked = self._begin(plan.full(regions, addresses)), set(regions)
                else:
                    probes = plan.incremental(regions, addresses, latencies, home)
                    round_ = self._begin(probes, enough=plan.FASTEST, awaited=() if home is None else (home,))
                    asked = set(plan.fastest(regions, latencies, home))
                await self._over_stun(round_)
                results.take(round_)
                silent = asked - results.latencies.keys() if round_.exhausted else ()
                await self._over_https(results, regions, silent)
        return results

    def stun(self, source: Path, datagram: Buffer) -> None:
        """A STUN datagram arrived."""
        round_, driver = self._round, self._driver
        if round_ is None or driver is None or source.relayed or not round_.expects(bytes(datagram[_TRANSACTION])):
            return
        answer = mapped_address(datagram)
        if answer is not None:
            transaction, address, port = answer
            round_.answered(transaction, (address, port), self._clock.now())
            driver.settle()

    def _begin(self, probes: Sequence[plan.Probe], **options: Any) -> Round:
        return Round(probes if self.sender is not None else (), self._parts.entropy, self._clock.now(), **options)

    async def _over_stun(self, round_: Round) -> None:
        """Send what is to be sent, until the round is done."""
        over = asyncio.Event()

        def drain() -> None:
            for probe, request in round_.drain():
                if not self._send(probe.endpoint, request):
                    round_.unsendable(probe)
            if round_.done:
                over.set()

        self._round, self._driver = round_, Driver(round_, self._clock, drain)
        try:
            self._driver.settle()
            await over.wait()
        finally:
            self._driver.close()
            self._round = self._driver = None

    def _send(self, endpoint: str, request: bytes) -> bool:
        try:
            return self.sender is not None and self.sender.path(endpoint).send([request])
        except ValueError:
            return False

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
