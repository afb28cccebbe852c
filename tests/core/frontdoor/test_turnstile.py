"""Costly work is spread over the loop's passes."""

from __future__ import annotations

import asyncio

from ghostwire.frontdoor.turnstile import Turnstile


class Passes:
    """Counts the loop's passes while anybody is at work."""

    def __init__(self) -> None:
        self.number, self.at = 0, list[tuple[int, int]]()
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_soon(self._count)

    def _count(self) -> None:
        self.number += 1
        self._handle = self._loop.call_soon(self._count)

    def stop(self) -> None:
        self._handle.cancel()

    async def work(self, turnstile: Turnstile, name: int) -> None:
        await turnstile.turn()
        self.at.append((self.number, name))


async def test_only_so_many_have_their_turn_in_one_pass_in_the_order_they_came() -> None:
    turnstile, passes = Turnstile(3), Passes()
    await asyncio.gather(*(passes.work(turnstile, name) for name in range(20)))
    passes.stop()
    assert [name for _, name in passes.at] == list(range(20))
    numbers = [number for number, _ in passes.at]
    assert max(numbers.count(number) for number in numbers) == 3


async def test_who_gives_up_takes_nobodys_turn() -> None:
    turnstile, passes = Turnstile(1), Passes()
    tasks = [asyncio.ensure_future(passes.work(turnstile, name)) for name in range(5)]
    await asyncio.sleep(0)
    for task in tasks[1:4]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    passes.stop()
    assert [name for _, name in passes.at] == [0, 4]


async def test_it_is_at_rest_when_nobody_comes_and_free_again_afterwards() -> None:
    turnstile = Turnstile(1)
    for _ in range(3):
        await turnstile.turn()
        while turnstile._turning:
            await asyncio.sleep(0)
        assert turnstile._free == 1
