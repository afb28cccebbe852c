"""One router, as seen from this machine now: its address, ours, and how engines are run against it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ghostwire import Sockets
from ghostwire.driver import Driver
from ghostwire.engine import Clock
from ghostwire.node.portmap.asking import Address, Asking
from ghostwire.node.portmap.udp import Ports


@dataclass(frozen=True, slots=True)
class Router:
    """``gateway`` and ``local`` are IPv4 addresses: the router's inside one, and this machine's towards it."""

    gateway: str
    local: str
    ports: Ports
    sockets: Sockets
    clock: Clock

    async def ask(self, engine: Asking) -> None:
        """Run an engine to its end on a port of its own; PlatformError where there is none to be had."""
        await _Run(self, engine).finish()


class _Run:
    def __init__(self, router: Router, engine: Asking) -> None:
        self._engine, self._clock = engine, router.clock
        self._ended = asyncio.Event()
        self._port = router.ports.open(0, self._received, local=router.local)
        self._driver = Driver(engine, router.clock, self._drain)

    async def finish(self) -> None:
        try:
            self._engine.advance(self._clock.now())
            self._driver.settle()
            await self._ended.wait()
        finally:
            self._driver.close()
            self._port.close()

    def _drain(self) -> None:
        for target, data in self._engine.sends():
            self._port.send(target, data)
        if self._engine.done:
            self._ended.set()

    def _received(self, source: Address, data: bytes) -> None:
        self._engine.receive(source, data, self._clock.now())
        self._driver.settle()
