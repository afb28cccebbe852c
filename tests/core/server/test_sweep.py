"""Ten thousand idle streams are kept alive without holding up those that have something to say."""

import asyncio
import os
from collections import Counter
from itertools import pairwise

import pytest

from ghostwire.keys import PrivateKey
from ghostwire.server.channel import LOOKS, SWEEP, ControlUpgrade
from ghostwire.testing import simulated


class Watched:
    """A stream that notes when it is looked at."""

    def __init__(self) -> None:
        self.looks: list[float] = []

    def sweep(self, now: float) -> None:
        self.looks.append(now)


@pytest.mark.parametrize("count", [1, LOOKS - 1, LOOKS, 2 * LOOKS - 1, 10_000])
@simulated
async def test_every_stream_is_looked_at_in_time_and_few_at_once(count):
    upgrade = ControlUpgrade(PrivateKey.generate(), os.urandom, lambda stream: None)
    streams = [Watched() for _ in range(count)]
    upgrade.streams |= set(streams)
    upgrade._arm()
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(4 * SWEEP + 0.1)
    upgrade.streams.clear()
    assert max(Counter(look for stream in streams for look in stream.looks).values()) <= LOOKS
    for stream in streams:
        assert max(after - before for before, after in pairwise([began, *stream.looks])) <= SWEEP + 0.01
