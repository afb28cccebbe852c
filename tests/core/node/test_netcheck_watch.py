"""When the home is lost, another one is looked for."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace

from ghostwire.engine import SECOND
from ghostwire.node.netcheck.watch import GLIMPSE, GRACE, INTERVAL, LOST, SHUN, HomeWatch
from ghostwire.testing import running_clock, simulated


class Relays:
    """One home region, which the test connects and cuts off."""

    home: int | None = 7
    all = ("a relay",)
    regions = {7: [SimpleNamespace(draining=False)], 8: [SimpleNamespace(draining=True)]}  # noqa: RUF012
    lost: Callable[[], object]

    def __init__(self) -> None:
        self.there = True

    def connected(self) -> bool:
        return self.there

    def cut(self) -> None:
        self.there = False
        self.lost()


def watching() -> tuple[Relays, HomeWatch, list[float]]:
    relays, hurried = Relays(), []
    watch = HomeWatch(relays, running_clock(), lambda: hurried.append(asyncio.get_running_loop().time()))  # type: ignore[arg-type]
    watch.start()
    return relays, watch, hurried


@simulated
async def test_a_home_that_is_lost_is_looked_after_soon() -> None:
    relays, watch, hurried = watching()
    relays.cut()
    await asyncio.sleep(60)
    assert hurried == [GRACE]
    watch.close()


@simulated
async def test_a_home_that_comes_back_at_once_is_not() -> None:
    relays, watch, hurried = watching()
    relays.cut()
    await asyncio.sleep(GRACE / 2)
    relays.there = True
    await asyncio.sleep(60)
    assert hurried == []
    watch.close()


@simulated
async def test_after_the_end_nobody_is_told() -> None:
    relays, watch, hurried = watching()
    relays.cut()
    watch.close()
    relays.cut()
    await asyncio.sleep(60)
    assert hurried == []


@simulated
async def test_while_all_is_well_the_network_is_looked_at_every_five_minutes() -> None:
    _, watch, _ = watching()
    now = running_clock().now()
    assert not watch.due(now)
    assert not watch.due(now - INTERVAL + 1)
    assert watch.due(now - INTERVAL)


@simulated
async def test_while_the_home_is_away_the_looks_become_rarer() -> None:
    relays, watch, _ = watching()
    relays.cut()
    clock, looks = running_clock(), []
    began = looked = clock.now()
    while clock.now() - began < 2000 * SECOND:
        if watch.due(looked):
            looked = clock.now()
            looks.append((looked - began) // GLIMPSE)
        await asyncio.sleep(GLIMPSE / SECOND)
    assert looks[:5] == [1, 3, 7, 15, 31]
    assert {later - at for at, later in pairwise(looks[5:])} == {INTERVAL // GLIMPSE}


@simulated
async def test_a_home_that_lets_nobody_in_is_none_for_ten_minutes() -> None:
    relays, watch, _ = watching()
    assert watch.closed() == {8}
    relays.cut()
    watch.due(0)
    await asyncio.sleep(LOST / SECOND - 1)
    assert watch.closed() == {8}
    await asyncio.sleep(1)
    assert watch.closed() == {7, 8}
    await asyncio.sleep(SHUN / SECOND - 1)
    assert watch.closed() == {7, 8}
    await asyncio.sleep(1)
    assert watch.closed() == {8}
