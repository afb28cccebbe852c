"""A stranger's path can knock where the child has said so, and a text that it cannot read is refused from then on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ghostwire.testing.contracts.transport import Inbox

from .conftest import ECHO

KNOCKING = ECHO.replace(
    "    def __eq__",
    "    def knock(self, datagram, ttl):\n"
    "        self.owner.knocked = [f'{self.endpoint} {bytes(datagram).decode()} {ttl}']\n"
    "        return True\n"
    "    def __eq__",
).replace('return [f"127.0.0.1:{self.port}"]', "return getattr(self, 'knocked', [])")


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not happened():
            await asyncio.sleep(0.02)


async def test_a_knock_reaches_the_plugin_with_its_time_to_live(make: Any) -> None:
    transport = make(KNOCKING)
    await transport.start(Inbox())
    path = transport.path("127.0.0.1:9")
    await until(lambda: path.knock(b"hello", 3))
    await until(transport.endpoints)
    assert list(transport.endpoints()) == ["127.0.0.1:9 hello 3"]
    assert not path.knock(b"hello", 0)
    assert not path.knock(b"hello", 256)
    await transport.close()


async def test_a_plugin_whose_paths_cannot_knock_is_never_asked(make: Any) -> None:
    transport, inbox = make(), Inbox()
    await transport.start(inbox)
    path = transport.path(transport.endpoints()[0])
    path.send([b"to myself"])  # what the child judges of the path comes before this comes back
    await asyncio.wait_for(inbox.count(1), 20)
    assert not path.knock(b"hello", 3)
    await transport.close()


async def test_only_what_is_sent_before_the_child_has_judged_a_text_is_lost_unsaid(make: Any) -> None:
    transport = make()
    await transport.start(Inbox())
    path = transport.path("no endpoint of this plugin's")
    await until(lambda: not path.send([b"into nothing"]))
    assert not transport.path("no endpoint of this plugin's").send([b"into nothing"])
    await transport.close()
