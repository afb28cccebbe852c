"""One link is kept, whatever befalls it."""

from __future__ import annotations

import asyncio
import logging
import os

import pytest

from ghostwire.errors import Unavailable
from ghostwire_derp.mesh.keeper import Keeper, Tally
from ghostwire_derp.mesh.peering import Peering


async def test_what_nobody_foresaw_is_shown_and_the_link_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    attempts: list[Exception] = [OSError(28, "No space left on device"), Unavailable("no answer")]
    over = asyncio.Event()

    async def opening() -> Peering:
        if not attempts:
            over.set()
            await asyncio.Event().wait()
        raise attempts.pop(0)

    tally = Tally()
    keeper = Keeper("relay r2", opening, 0.0, logging.WARNING, tally, os.urandom, logging.getLogger("test"))
    async with asyncio.timeout(10):
        await over.wait()
    assert tally == Tally(links=0, failures=2)
    assert "internal error in the link to relay r2" in caplog.text
    assert "no link to relay r2: no answer; trying again" in caplog.text
    keeper.task.cancel()
