"""The event loop in virtual time."""

import asyncio
import threading
import time

import pytest

from ghostwire.engine import SECOND
from ghostwire.testing import ManualClock, SimulatedLoop, SimulationError, running_clock, simulate, simulated


@simulated
async def test_a_week_passes_at_once() -> None:
    began, real = running_clock().now(), time.monotonic()
    await asyncio.sleep(7 * 24 * 3600)
    assert running_clock().now() - began == 7 * 24 * 3600 * SECOND
    assert time.monotonic() - real < 1


@simulated
async def test_timers_fire_in_order_at_their_exact_nanosecond() -> None:
    loop, clock, fired = asyncio.get_running_loop(), running_clock(), []
    began = clock.now()
    for delay in (3, 1, 2):
        loop.call_later(delay / SECOND, lambda: fired.append(clock.now() - began))
    await asyncio.sleep(1)
    assert fired == [1, 2, 3]


def test_the_clock_given_is_the_one_that_moves() -> None:
    clock = ManualClock(now=0)
    assert simulate(lambda: asyncio.sleep(2, "done"), clock=clock) == "done"
    assert clock.now() == 2 * SECOND


def test_a_deadlock_is_an_error_that_says_who_waits_where() -> None:
    async def waits_for_nothing() -> None:
        await asyncio.Event().wait()

    with pytest.raises(SimulationError, match=r"deadlock after 0.000 virtual seconds[^$]*Event.wait"):
        simulate(waits_for_nothing)


def test_a_wait_that_only_timers_keep_alive_ends_at_the_limit() -> None:
    async def spins() -> None:
        def again() -> None:
            asyncio.get_running_loop().call_later(1, again)

        again()
        await asyncio.Event().wait()

    with pytest.raises(SimulationError, match="limit of 60 virtual seconds"):
        simulate(spins, limit=60 * SECOND)


@pytest.mark.parametrize("name", ["create_connection", "create_server", "add_reader", "create_datagram_endpoint"])
def test_the_real_world_is_refused(name: str) -> None:
    async def reach() -> None:
        await getattr(asyncio.get_running_loop(), name)(None, None)

    with pytest.raises(SimulationError, match=name):
        simulate(reach)


def test_another_thread_is_refused() -> None:
    async def main() -> BaseException | None:
        loop, caught = asyncio.get_running_loop(), []

        def call() -> None:
            try:
                loop.call_soon_threadsafe(print)
            except SimulationError as error:
                caught.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        return caught[0]

    assert "another thread" in str(simulate(main))


@simulated
async def test_work_for_a_thread_is_done_at_once() -> None:
    assert await asyncio.to_thread(threading.get_ident) == threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(lambda: 1 // 0)


def test_what_a_callback_raises_fails_the_simulation() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)

    with pytest.raises(ZeroDivisionError):
        simulate(main)


def test_tasks_that_are_left_behind_are_cancelled() -> None:
    ended = []

    async def stays() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(True)

    async def main() -> None:
        main.task = asyncio.create_task(stays())  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    simulate(main)
    assert ended == [True]


def test_cancelled_timers_do_not_pile_up() -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        for _ in range(10_000):
            loop.call_later(3600, print).cancel()
            if _ % 100 == 0:
                await asyncio.sleep(0)
        return len(loop._scheduled)  # type: ignore[attr-defined]

    assert simulate(main) < 500


def test_it_makes_many_thousand_steps_a_second() -> None:
    async def main() -> None:
        for _ in range(20_000):
            await asyncio.sleep(0.001)

    began = time.process_time()
    simulate(main)
    assert time.process_time() - began < 4
