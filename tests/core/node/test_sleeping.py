"""A whole node whose machine sleeps: on waking, everything has to prove itself again."""

import asyncio
from typing import Any

from ghostwire.engine import SECOND
from ghostwire.testing import running_clock, simulated


class SleepingClock:
    """The loop's clock, and the time that the machine slept."""

    def __init__(self) -> None:
        self._running, self.slept = running_clock(), 0

    def now(self) -> int:
        return self._running.now() + self.slept

    def wall(self) -> int:
        return self._running.wall() + self.slept


@simulated
async def test_a_machine_that_slept_begins_a_new_session_at_once(kit: Any) -> None:
    clock = SleepingClock()
    rig = kit.rig(overrides={"clock": clock})
    node = await rig.joined()
    await asyncio.sleep(100)
    assert len(rig.server.channels) == 1
    clock.slept = 3600 * SECOND
    await asyncio.sleep(61)
    assert len(rig.server.channels) == 2
    await node.close()
