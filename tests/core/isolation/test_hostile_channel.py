"""A plugin that takes the channel into its own hands only ends its own process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ghostwire.testing.contracts.transport import Inbox

from .conftest import ECHO
from .test_faults import Verdict, descriptors

CHANNEL = """
def channel():
    import gc
    return next(each for each in gc.get_objects() if type(each).__name__ == "Channel")
def flood(message):
    from ghostwire.plugins.isolation import protocol
    data, mine = protocol.encode(message(protocol)), channel()
    while True:
        mine.wait(9, writable=True)
        mine.tell(data)
"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("channel()._control.send(b'rubbish')", "sent no control message"),
        ("channel().send((b'rubbish',))", "sent a frame of kind"),
        ("channel().send((b'\\x02\\0\\0\\0\\x63\\0\\1\\0\\1x',))", "used a path that it never named"),
        ("os.write(channel()._data.told, bytes(7))", "told of frames by halves"),
        ("os.write(channel()._data.told, b'x' * 8)", "sent more than the ring holds"),
        ("os.write(channel()._data.told, (8).to_bytes(8, 'little'))", "where there is none"),
        ("os.close(channel()._data.told)", "closed its channel"),
        ("flood(lambda p: p.Pong(number=1))", "floods the daemon"),
        ("flood(lambda p: p.Ask(number=1, what='udp', host='127.0.0.1'))", "does not read|floods the daemon"),
        ("flood(lambda p: p.Started(name='udp'))", "speaks out of turn"),
    ],
    ids=["control", "data", "path", "halves", "head", "nothing", "hang-up", "flood", "sockets", "turn"],
)
async def test_it_is_ended_with_one_line(make: Any, line: str, said: str) -> None:
    told = Verdict()
    source = ECHO.replace("return self.owner.send(", f"{line}\n        return self.owner.send(") + CHANNEL
    transport = make(source, failed=told)
    await transport.start(Inbox())
    transport.path("127.0.0.1:9").send([b"go"])
    reason = await told.wait()
    assert any(each in reason for each in said.split("|")), reason
    await transport.close()


async def test_one_that_lies_of_the_room_it_made_is_ended(make: Any) -> None:
    told = Verdict()
    lie = "channel()._data._reader._numbers[0] = 1 << 60\n        __import__('threading').Event().wait()"
    transport = make(
        ECHO.replace("return self.owner.send(", f"{lie}\n        return self.owner.send(") + CHANNEL, failed=told
    )
    await transport.start(Inbox())
    path = transport.path("127.0.0.1:9")
    burst = [bytes(1312)] * 64
    while not told.reasons:
        path.send(burst)
        await asyncio.sleep(0)
    assert told.reasons == ["freed what was never sent to it"]
    await transport.close()


async def test_descriptors_that_it_sends_are_closed_at_once(make: Any) -> None:
    pong = "[p.encode(p.Pong(number=1))], [0, 1, 2]"
    line = f"[__import__('socket').send_fds(channel()._control, {pong}) for _ in range(50)]"
    inbox, told = Inbox(), Verdict()
    source = ECHO.replace(
        "return self.owner.send(",
        f"from ghostwire.plugins.isolation import protocol as p\n        {line}\n        return self.owner.send(",
    )
    transport = make(source + CHANNEL, failed=told)
    await transport.start(inbox)
    before = len(descriptors())
    transport.path(transport.endpoints()[0]).send([b"go"])
    await asyncio.wait_for(inbox.count(1), 20)
    await asyncio.sleep(0)
    assert len(descriptors()) <= before
    assert told.reasons == []
    await transport.close()
