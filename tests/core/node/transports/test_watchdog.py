"""A plugin that holds the event loop is named."""

import asyncio
import logging
import threading
import time

import pytest

from ghostwire.node.transports.watchdog import Watchdog


def hold(logged: threading.Event) -> None:
    """Spin, as a plugin's endless loop does, until that was noticed."""
    deadline = time.monotonic() + 30
    while not logged.is_set() and time.monotonic() < deadline:
        pass


class Noticed(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said, self.texts = threading.Event(), list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        if record.levelno >= logging.ERROR:
            self.said.set()


async def test_the_plugin_and_the_place_are_told_while_it_lasts_and_after() -> None:
    log, noticed = logging.getLogger("ghostwire.watchdog-test"), Noticed()
    log.addHandler(noticed)
    told: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()
    dog = Watchdog(
        {__name__.partition(".")[0]: "spinner"},
        log,
        lambda plugin, what: told.set_result((plugin, what)),
        every=0.02,
        held=0.2,
    )
    dog.start()
    try:
        await asyncio.sleep(0)
        hold(noticed.said)
        plugin, what = await asyncio.wait_for(told, 30)
    finally:
        dog.close()
        log.removeHandler(noticed)
    assert plugin == "spinner"
    assert "hold" in what
    assert any("plugin spinner holds the event loop" in text and "trusted" in text for text in noticed.texts)
    assert dog.holds >= 1


@pytest.mark.parametrize("closes", [1, 2])
async def test_closing_ends_its_thread(closes: int) -> None:
    dog = Watchdog({}, logging.getLogger("ghostwire.watchdog-test"), every=0.01)
    dog.start()
    for _ in range(closes):
        dog.close()
    thread = dog._thread
    assert thread is not None
    await asyncio.to_thread(thread.join, 30)
    assert not thread.is_alive()
