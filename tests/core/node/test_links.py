"""A change of this machine's links counts where it gives other addresses or another router."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from ghostwire.node.links import SETTLE, Links
from ghostwire.testing import simulated


class Machine:
    """Addresses and a router that the test changes."""

    def __init__(self) -> None:
        self.addresses: list[str] = ["192.0.2.5"]
        self.router: str | None = "192.0.2.1"
        self.watchers: list[Callable[[], None]] = []

    def local_addresses(self) -> Sequence[str]:
        return list(self.addresses)

    def gateway(self) -> str | None:
        return self.router

    def watch_links(self, changed: Callable[[], None]) -> Callable[[], None]:
        self.watchers.append(changed)
        return lambda: self.watchers.remove(changed)

    def stir(self) -> None:
        for changed in self.watchers:
            changed()


def watched() -> tuple[Machine, Links, list[float]]:
    machine, told = Machine(), []
    platform: Any = machine
    return machine, Links(platform, lambda: told.append(asyncio.get_running_loop().time())), told


@simulated
async def test_other_addresses_are_told_once_they_have_settled() -> None:
    machine, links, told = watched()
    for address in ("192.0.2.6", "192.0.2.7", "192.0.2.8"):
        machine.addresses = [address]
        machine.stir()
        await asyncio.sleep(SETTLE / 2)
    await asyncio.sleep(10)
    assert told == [2 * SETTLE]
    links.close()


@simulated
async def test_another_router_alone_is_told_too() -> None:
    machine, links, told = watched()
    machine.router = "192.0.2.254"
    machine.stir()
    await asyncio.sleep(10)
    assert told == [SETTLE]
    links.close()


@simulated
async def test_what_is_as_before_is_not_told_nor_anything_after_the_end() -> None:
    machine, links, told = watched()
    machine.stir()
    await asyncio.sleep(10)
    machine.addresses = []
    machine.stir()
    links.close()
    await asyncio.sleep(10)
    assert told == []
    assert machine.watchers == []
