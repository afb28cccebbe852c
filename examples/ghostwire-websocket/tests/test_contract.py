"""The contract of all transports: on simulated hosts, and on loopback."""

import asyncio
import itertools
import socket
from collections.abc import Sequence

import pytest

from ghostwire import Transport
from ghostwire.system.clock import SystemClock
from ghostwire.system.sockets import SystemSockets
from ghostwire.testing import Network, running_clock, simulate
from ghostwire.testing.conformance.surroundings import pour
from ghostwire.testing.contracts.transport import TransportContract
from ghostwire_websocket.endpoint import Endpoint
from ghostwire_websocket.settings import Settings


class TestOnLoopback(TransportContract):
    @pytest.fixture(autouse=True)
    def _world(self, make) -> None:
        self._make = make

    async def make(self) -> Transport:
        return self._make(SystemSockets(), SystemClock(), Settings(listen="127.0.0.1:0", plain=True))

    async def strangers(self, transport: Transport, rubbish: Sequence[bytes]) -> None:
        """Each over a connection of its own, at the port that the proxy would use."""
        url = Endpoint.parse(transport.endpoints()[0]).url
        for each in rubbish:
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(each)
            writer.write_eof()
            async with asyncio.timeout(10):
                await reader.read()
            writer.close()

    async def pour(self, transport: Transport, junk: bytes, times: int) -> None:
        """At the port that the proxy would use."""
        url = Endpoint.parse(transport.endpoints()[0]).url
        await pour(self.cleanup.enter_context(socket.create_connection((url.host, url.port))), junk, times)


class TestOnASimulatedNetwork(TransportContract):
    @pytest.fixture(autouse=True)
    def _world(self, make) -> None:
        self._make, self._count = make, itertools.count(1)

    def run(self, main) -> None:
        simulate(lambda: self._in_a_network(main))

    async def _in_a_network(self, main) -> None:
        self._network = Network(seed=1)
        await main()

    async def make(self) -> Transport:
        number = next(self._count)
        host = self._network.host(f"node{number}", f"192.0.2.{number}")
        settings = Settings(listen=f"192.0.2.{number}:8642", url=f"ws://192.0.2.{number}:8642/mesh", plain=True)
        return self._make(host.sockets, running_clock(), settings)
