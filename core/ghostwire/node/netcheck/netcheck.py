"""Looks at the network at the start, when links, relays or the home change, and every 5 minutes; chooses the home."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

import msgspec

from ghostwire import Buffer, Path, Transport
from ghostwire.driver import Driver
from ghostwire.engine import SECOND
from ghostwire.errors import GhostwireError
from ghostwire.keys import NodeKey
from ghostwire.node.netcheck import https, plan
from ghostwire.node.netcheck.home import HomeChoice
from ghostwire.node.netcheck.names import Names
from ghostwire.node.netcheck.report import NetcheckReport
from ghostwire.node.netcheck.results import Results
from ghostwire.node.netcheck.round import Round
from ghostwire.node.parts import Parts
from ghostwire.node.relays import Relays
from ghostwire.wire.stun import HEADER_BYTES, TRANSACTION_BYTES, mapped_address

INTERVAL = 300 * SECOND
WATCH = 15.0
"""Seconds between two looks at whether the home is still connected."""
PATIENCE = 5.0
"""Seconds that a look takes at most."""
MOST_OVER_HTTPS = 16
"""Regions asked over HTTPS in one look."""

_TRANSACTION = slice(HEADER_BYTES - TRANSACTION_BYTES, HEADER_BYTES)


class Netcheck:
    """Sends through ``sender`` (None: STUN is not possible) and takes STUN from the demux; works from `start` on.

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
        self._choice = HomeChoice(node, relays.home)
        self._names = Names(parts.lookup, parts.clock)
        self._sender: Transport | None = None
        self._round: Round | None = None
        self._driver: Driver | None = None
        self._task: asyncio.Task[None] | None = None
        self._woken, self._full = asyncio.Event(), True
        self._waiting: list[asyncio.Future[NetcheckReport]] = []
        self._looked = self._looked_fully = -INTERVAL
        self._latencies: Mapping[int, int] = {}
        self.report: NetcheckReport | None = None

    def start(self, sender: Transport | None) -> None:
        """Begin; the first look is as soon as there are relays."""
        self._sender = sender
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Stop; harmless when called twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        for waiting in self._waiting:
            waiting.cancel()

    @property
    def mapped(self) -> Sequence[str]:
        """This node's endpoints as relays see them."""
        if self.report is None:
            return ()
        return [text for text in (self.report.mapped_ipv4, self.report.mapped_ipv6) if text]

    async def look(self) -> NetcheckReport:
        """A full look now."""
        waiting: asyncio.Future[NetcheckReport] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self.hurry()
        return await waiting

    def hurry(self) -> None:
        """Look again, at everything: links or relays changed."""
        self._full = True
        self._woken.set()

    def links_changed(self) -> None:
        """What relays saw of this node is no longer so."""
        if self.report is not None:
            self.report = msgspec.structs.replace(self.report, mapped_ipv4="", mapped_ipv6="", mapping_varies=None)
        self.hurry()

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

    async def _work(self) -> None:
        while True:
            await self._until_due()
            waiting, self._waiting = self._waiting, []
            try:
                report = await self._look()
            except Exception as error:
                self._parts.log.exception("internal error in netcheck")
                _answer(waiting, GhostwireError(f"internal error: {type(error).__name__}; see the node's log"))
            else:
                _answer(waiting, report)

    async def _until_due(self) -> None:
        while not self._woken.is_set() and not self._due():
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH if self._relays.all else None):
                    await self._woken.wait()
        self._woken.clear()

    def _due(self) -> bool:
        if not self._relays.all:
            return False
        lost = self._relays.home is not None and not self._relays.connected()
        return self._clock.now() - self._looked >= (WATCH * SECOND if lost else INTERVAL)

    async def _look(self) -> NetcheckReport:
        now = self._clock.now()
        full = self._full or now - self._looked_fully >= INTERVAL or not self._latencies
        self._full, self._looked = False, now
        self._looked_fully = now if full else self._looked_fully
        results = await self._measure(full)
        self._latencies = results.latencies
        self._choose(results)
        before, self.report = self.report, self._report(results, full=full)
        if before is None or _told(before) != _told(self.report):
            self._changed()
        return self.report

    async def _measure(self, full: bool) -> Results:
        results = Results(self._relays.regions)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                addresses = await self._names.resolve(self._relays.all)
                asked = await self._over_stun(results, addresses, full)
                await self._over_https(results, asked)
        return results

    async def _over_stun(self, results: Results, addresses: plan.Addresses, full: bool) -> Collection[int]:
        """Ask, and wait for the answers; the regions that should have answered."""
        regions, home = self._relays.regions, self._relays.home
        if full:
            probes, enough, asked = plan.full(regions, addresses), None, set(regions)
        else:
            probes, enough = plan.incremental(regions, addresses, self._latencies, home), plan.FASTEST
            asked = {probe.region for probe in probes}
        if self._sender is None:
            return asked
        awaited = () if home is None else (home,)
        round_ = Round(probes, self._parts.entropy, self._clock.now(), enough=enough, awaited=awaited)
        await self._drive(round_)
        results.take(round_)
        return asked if round_.exhausted else ()

    async def _drive(self, round_: Round) -> None:
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
            return self._sender is not None and self._sender.path(endpoint).send([request])
        except ValueError:
            return False

    async def _over_https(self, results: Results, asked: Collection[int]) -> None:
        silent = [region for region in asked if region not in results.latencies][:MOST_OVER_HTTPS]
        tasks = [asyncio.ensure_future(self._ask_region(results, region)) for region in silent]
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _ask_region(self, results: Results, region: int) -> None:
        """The first relay of a region that answers gives its round trip."""
        for relay in self._relays.regions[region]:
            try:
                results.https[region] = await https.round_trip(relay, self._parts.sockets, self._clock)
                return
            except (GhostwireError, OSError) as error:
                self._parts.log.debug("netcheck: %s: %s", relay.name, error)

    def _choose(self, results: Results) -> None:
        relays = self._relays
        home = self._choice.choose(
            results.latencies,
            relays.regions.keys(),
            self._clock.now(),
            connected=self._connected(),
            heard=relays.heard(),
            closing={region for region, each in relays.regions.items() if all(relay.draining for relay in each)},
        )
        if relays.move(home) and relays.home is not None:
            self._parts.log.info("home relay region: %s (%s)", relays.region_name(home), self._choice.reason)

    def _report(self, results: Results, *, full: bool) -> NetcheckReport:
        return results.report(
            at=self._parts.clock.wall() // SECOND,
            before=None if full else self.report,
            home=self._relays.home,
            reason=self._choice.reason,
        )


def _answer(waiting: Sequence[asyncio.Future[NetcheckReport]], answer: NetcheckReport | GhostwireError) -> None:
    for each in waiting:
        if each.done():
            continue
        if isinstance(answer, GhostwireError):
            each.set_exception(answer)
        else:
            each.set_result(answer)


def _told(report: NetcheckReport) -> Sequence[object]:
    """What others are told of a report."""
    return report.home, report.mapped_ipv4, report.mapped_ipv6
