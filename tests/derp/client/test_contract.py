"""The contract of all transports, kept by `derp` over a small relay and over the real one."""

from collections.abc import Callable
from typing import Any

import pytest

from ghostwire import Transport, relay_endpoint
from ghostwire.testing import simulate
from ghostwire.testing.contracts.transport import TransportContract

REGION = 7


class DerpContract(TransportContract):
    """Nodes of one region."""

    real = False

    @pytest.fixture(autouse=True)
    def _world(self, new_world: Callable[[], Any]) -> None:
        self._new_world = new_world

    def run(self, main: Callable[[], Any]) -> None:
        simulate(lambda: self._in_a_world(main))

    async def _in_a_world(self, main: Callable[[], Any]) -> None:
        self._world = self._new_world()
        self._world.relay("berlin", REGION, real=self.real)
        await main()

    async def make(self) -> Transport:
        return self._world.node(f"node{len(self._world.nodes)}", REGION).transport

    async def ready(self, transport: Transport) -> None:
        await self._world.until(lambda: transport.connected(REGION))

    def reached_at(self, transport: Transport) -> str:
        node = next(node for node in self._world.nodes.values() if node.transport is transport)
        return relay_endpoint(REGION, node.key)


class TestOverASmallRelay(DerpContract):
    pass


class TestOverTheRealRelay(DerpContract):
    real = True
