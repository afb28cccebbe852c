"""The telemetry's contract passes a right exporter, and fails for those that break one of its rules."""

import asyncio
import time
from typing import Any

import pytest

from ghostwire import Metrics, Telemetry
from ghostwire.testing.contracts import TelemetryContract

from .catching import failure


class Page(Telemetry):
    """A right one, which writes a page now and then."""

    name = "page"
    task: asyncio.Task[None] | None = None

    async def start(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.task = asyncio.create_task(self.export())

    async def export(self) -> None:
        while True:
            self.page()
            await asyncio.sleep(0.2)

    def page(self) -> str:
        return "\n".join(self.line(metric) for metric in self.metrics)

    def line(self, metric: Any) -> str:
        try:
            return f"{metric.name} {metric.read()}"
        except Exception as error:
            return f"# {metric.name}: {error}"

    async def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)


class Rules(TelemetryContract):
    kind: type[Page] = Page

    async def make(self) -> Telemetry:
        return self.kind()

    async def exported(self, telemetry: Any) -> str:
        return str(telemetry.page())


class _Nameless(Page):
    name = "Page 1"


class _ClosesOnce(Page):
    async def close(self) -> None:
        self.task.cancel()  # type: ignore[union-attr]
        del self.task


class _Stays(Page):
    async def close(self) -> None:
        """Goes on."""


class _Copies(Page):
    async def start(self, metrics: Metrics) -> None:
        await super().start(metrics)
        self.copy = list(metrics)

    def page(self) -> str:
        return "\n".join(map(self.line, getattr(self, "copy", ())))


class _Raises(Page):
    def line(self, metric: Any) -> str:
        return f"{metric.name} {metric.read()}"


class _Blocks(Page):
    def page(self) -> str:
        time.sleep(0.7)
        return ""


BREAKERS = [
    (_Nameless, "it_has_a_name"),
    (_ClosesOnce, "closing_twice_or_before_starting_does_no_harm"),
    (_Stays, "closing_leaves_nothing_behind"),
    (_Stays, "a_start_that_is_cancelled_leaves_nothing_behind"),
    (_Copies, "metrics_that_come_after_the_start_are_exported_and_those_that_go_are_not"),
    (_Raises, "a_metric_that_raises_costs_only_itself"),
    (_Blocks, "it_holds_up_nobody"),
]


@pytest.mark.parametrize(("kind", "rule_name"), BREAKERS)
def test_a_broken_one_is_caught(kind: type[Any], rule_name: str) -> None:
    assert failure(Rules, kind, rule_name)


@pytest.mark.parametrize("rule_name", Rules.rules())
def test_a_right_one_is_not(rule_name: str) -> None:
    assert failure(Rules, Rules.kind, rule_name) == ""


def test_every_rule_has_a_breaker() -> None:
    assert {rule_name for _, rule_name in BREAKERS} == set(Rules.rules())
