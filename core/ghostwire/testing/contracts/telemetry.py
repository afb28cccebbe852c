"""What every exporter of telemetry must do: never hold up or harm the program it tells about."""

from __future__ import annotations

import asyncio
import re
import time

from ghostwire.capabilities.telemetry import Metrics, Telemetry
from ghostwire.testing.contracts.base import Contract, leaves_nothing, rule

IDLE_TIME = 0.4
"""Seconds of CPU that a second of exporting may take."""
STALL = 0.5
"""Seconds for which the event loop may be held."""


class TelemetryContract(Contract):
    """Subclass it as ``Test...`` and implement `make`; give `exported` where you can see what comes out."""

    async def make(self) -> Telemetry:
        """An exporter that was not started; nobody needs to be there to take what it exports."""
        raise NotImplementedError

    async def exported(self, telemetry: Telemetry) -> str:
        """What it exports now, as text; override it to have the rules about that checked."""
        import pytest

        pytest.skip("exported() is not given: what came out?")

    async def started(self, metrics: Metrics | None = None) -> Telemetry:
        """A running one."""
        telemetry = await self.make()
        self.cleanup.push_async_callback(telemetry.close)
        await self.within(telemetry.start(metrics or Metrics()), "start() should not wait for whoever takes the values")
        return telemetry

    @rule
    async def test_it_has_a_name(self) -> None:
        """Logs say it."""
        telemetry = await self.make()
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", telemetry.name), f"{telemetry.name!r} is not a provider's name"

    @rule
    async def test_closing_twice_or_before_starting_does_no_harm(self) -> None:
        """Programs close in reverse order, whatever was begun."""
        telemetry = await self.make()
        await self.within(telemetry.close(), "close() before start()")
        await telemetry.start(Metrics())
        for _ in range(2):
            await self.within(telemetry.close(), "close(): flushing to nobody must end")

    @rule
    async def test_closing_leaves_nothing_behind(self) -> None:
        """Neither tasks nor sockets nor threads."""
        telemetry = await self.make()
        with leaves_nothing("close()"):
            await telemetry.start(Metrics())
            await asyncio.sleep(0.05)
            await self.within(telemetry.close(), "close()")
            await asyncio.sleep(0.05)

    @rule
    async def test_a_start_that_is_cancelled_leaves_nothing_behind(self) -> None:
        """And it can be started afterwards."""
        telemetry = await self.make()
        with leaves_nothing("a cancelled start()"):
            starting = asyncio.ensure_future(telemetry.start(Metrics()))
            await asyncio.sleep(0)
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await self.within(telemetry.close(), "close() after a cancelled start()")
            await asyncio.sleep(0.05)
        await telemetry.start(Metrics())
        await telemetry.close()

    @rule
    async def test_metrics_that_come_after_the_start_are_exported_and_those_that_go_are_not(self) -> None:
        """Parts of a program come and go."""
        metrics = Metrics()
        telemetry = await self.started(metrics)
        scope = metrics.scope()
        scope.counter("ghostwire_test_late_total", "Came late", lambda: 4321.0)
        assert "4321" in await self.exported(telemetry), "a metric that came after start() is not exported"
        metrics.drop(scope)
        assert "4321" not in await self.exported(telemetry), "a metric that is gone is still exported"

    @rule
    async def test_a_metric_that_raises_costs_only_itself(self) -> None:
        """Its part may be closed already."""
        metrics = Metrics()
        metrics.gauge("ghostwire_test_bad", "Raises", lambda: 1 / 0)
        metrics.gauge("ghostwire_test_good", "Fine", lambda: 1234.0)
        assert "1234" in await self.exported(await self.started(metrics)), "one metric that raises hides the others"

    @rule
    async def test_it_holds_up_nobody(self) -> None:
        """Neither the loop nor the processor, while it runs."""
        await self.started()
        used, longest = time.process_time(), 0.0
        for _ in range(20):
            began = time.monotonic()
            await asyncio.sleep(0.05)
            longest = max(longest, time.monotonic() - began - 0.05)
        assert longest < STALL, f"the event loop was held for {longest:.1f} s: blocking work goes to a thread"
        used = time.process_time() - used
        assert used < IDLE_TIME, f"a second took {used:.2f} s of CPU"
