"""Relays' addresses: from the map, or resolved."""

import asyncio
from collections.abc import Sequence
from typing import Any

from ghostwire.engine import SECOND
from ghostwire.model import MapRelay
from ghostwire.node.netcheck.names import FRESH, MOST, TIMEOUT, Names
from ghostwire.testing import running_clock, simulated


def relay(host: str = "relay.test", id_: int = 1, **changes: Any) -> MapRelay:
    return MapRelay(id=id_, name="r", region=1, region_name="one", host=host, **changes)


class Resolver:
    """Answers from a table; remembers what it was asked."""

    def __init__(self, *addresses: str, delay: float = 0.0) -> None:
        self.addresses, self.delay = addresses, delay
        self.asked: list[str] = []
        self.fails = False

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        await asyncio.sleep(self.delay)
        if self.fails:
            raise OSError("name not known")
        return self.addresses


@simulated
async def test_a_name_gives_the_first_address_of_each_family() -> None:
    names = Names(Resolver("2001:db8::1", "192.0.2.1", "192.0.2.2"), running_clock())
    assert await names.resolve([relay()]) == {1: {4: "192.0.2.1", 6: "2001:db8::1"}}


@simulated
async def test_what_the_map_gives_goes_before_the_name_and_none_closes_a_family() -> None:
    resolver = Resolver("2001:db8::1", "192.0.2.1")
    names = Names(resolver, running_clock())
    assert names.addresses(relay(ipv4="198.51.100.1", ipv6="none")) == {4: "198.51.100.1"}
    assert await names.resolve([relay(ipv4="198.51.100.1", ipv6="2001:db8::9")]) == {
        1: {4: "198.51.100.1", 6: "2001:db8::9"}
    }
    assert resolver.asked == []
    assert await names.resolve([relay(ipv4="none")]) == {1: {6: "2001:db8::1"}}


@simulated
async def test_a_host_that_is_an_address_needs_no_resolving() -> None:
    resolver = Resolver()
    names = Names(resolver, running_clock())
    assert await names.resolve([relay("192.0.2.7"), relay("2001:db8::7", 2)]) == {
        1: {4: "192.0.2.7"},
        2: {6: "2001:db8::7"},
    }
    assert resolver.asked == []


@simulated
async def test_a_name_is_asked_for_once_in_five_minutes_and_its_last_answer_outlives_a_failure() -> None:
    resolver = Resolver("192.0.2.1")
    names = Names(resolver, running_clock())
    for _ in range(3):
        await names.resolve([relay(), relay(id_=2)])
    assert resolver.asked == ["relay.test"]
    await asyncio.sleep(FRESH / SECOND)
    resolver.fails = True
    assert await names.resolve([relay()]) == {1: {4: "192.0.2.1"}}
    assert len(resolver.asked) == 2


@simulated
async def test_a_slow_resolver_costs_its_name_alone_and_a_second_at_most() -> None:
    began = running_clock().now()
    names = Names(Resolver("192.0.2.1", delay=60), running_clock())
    assert await names.resolve([relay(), relay("192.0.2.7", 2)]) == {1: {}, 2: {4: "192.0.2.7"}}
    assert running_clock().now() - began == TIMEOUT * SECOND


@simulated
async def test_the_number_of_names_is_bounded() -> None:
    resolver = Resolver("192.0.2.1")
    names = Names(resolver, running_clock())
    await names.resolve([relay(f"r{number}.test", number) for number in range(1, 2 * MOST)])
    assert len(resolver.asked) == MOST
    assert len(names._known) <= MOST


@simulated
async def test_what_is_no_address_is_left_out() -> None:
    assert await Names(Resolver("nonsense", "fe80::1%eth0"), running_clock()).resolve([relay(ipv6="x")]) == {1: {}}


@simulated
async def test_an_answer_that_comes_too_late_counts_next_time_and_is_told_where_nothing_was_known() -> None:
    told: list[float] = []
    loop = asyncio.get_running_loop()
    resolver = Resolver("192.0.2.1", delay=10)
    names = Names(resolver, running_clock(), lambda: told.append(loop.time()))
    assert await names.resolve([relay()]) == {1: {}}
    assert await names.resolve([relay()]) == {1: {}}
    await asyncio.sleep(20)
    assert told == [10]
    assert await names.resolve([relay()]) == {1: {4: "192.0.2.1"}}
    assert resolver.asked == ["relay.test"]
    await asyncio.sleep(FRESH / SECOND)
    assert await names.resolve([relay()]) == {1: {4: "192.0.2.1"}}
    await asyncio.sleep(20)
    assert told == [10]


@simulated
async def test_an_answer_in_time_is_told_to_nobody_else_and_after_the_end_none_is() -> None:
    told: list[bool] = []
    prompt = Names(Resolver("192.0.2.1", delay=0.5), running_clock(), lambda: told.append(True))
    await prompt.resolve([relay()])
    slow = Names(Resolver("192.0.2.1", delay=10), running_clock(), lambda: told.append(True))
    await slow.resolve([relay()])
    slow.close()
    await asyncio.sleep(60)
    assert told == []
