"""The event loop that programs run on, and the signals that end them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from ghostwire.system.resources import raise_descriptors


def runner() -> asyncio.Runner:
    """A runner on uvloop where it is installed, else on asyncio's own loop, with all the descriptors there may be."""
    raise_descriptors()
    return asyncio.Runner(loop_factory=_factory())


def stop_signal() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
