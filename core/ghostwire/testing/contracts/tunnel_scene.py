"""The scene of every tunnel's rules: machines with a tunnel each, on a simulated network, in virtual time."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path as FilePath
from typing import Any

from ghostwire.capabilities.contexts import TunnelContext
from ghostwire.capabilities.platform import NetworkConfig
from ghostwire.capabilities.telemetry import Metrics
from ghostwire.capabilities.transport import Buffer, Path
from ghostwire.capabilities.tunnel import Filter, Tunnel
from ghostwire.keys import NodeKey, PrivateKey
from ghostwire.model import NetworkMap
from ghostwire.testing.clock import SeededEntropy
from ghostwire.testing.contracts.base import Contract
from ghostwire.testing.contracts.ends import End, RecordedEvents, meet
from ghostwire.testing.datagrams import MemoryTransport
from ghostwire.testing.loop import running_clock, simulate
from ghostwire.testing.nat import Address
from ghostwire.testing.network import Network
from ghostwire.testing.platform import MemoryDevice, Received


class TunnelScene(Contract):
    """What a tunnel's rules share; subclasses implement `make`."""

    network: Network

    def make(self, context: TunnelContext) -> Tunnel:
        """A tunnel that was not started, using nothing but its context."""
        raise NotImplementedError

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a rule in virtual time on a new network; its last datagrams are shown when it fails."""

        async def with_network() -> None:
            self.network = Network()
            try:
                await main()
            except BaseException as error:
                error.add_note(self.network.diagram())
                raise

        simulate(with_network)

    async def end(self, number: int, judge: Filter | None = None) -> End:
        """A machine with a running tunnel and no peers."""
        made = self.prepared(number, judge)
        await self.start(made)
        return made

    def prepared(self, number: int, judge: Filter | None = None) -> End:
        """A machine whose tunnel was not started."""
        host = self.network.host(f"host{number}", f"192.0.2.{number}")
        clock, entropy = running_clock(), SeededEntropy(number)
        device, transport = MemoryDevice("gw0", 1280, clock), MemoryTransport(host)
        own = (f"100.64.0.{number}/32", f"fd00::{number}/128")
        device.config = NetworkConfig("gw0", 1280, own, ("100.64.0.0/16", "fd00::/64"))
        key, events = PrivateKey.generate(entropy), RecordedEvents()
        context = TunnelContext(
            settings=None,
            clock=clock,
            entropy=entropy,
            metrics=Metrics(),
            log=logging.getLogger("ghostwire.testing"),
            sockets=host.sockets,
            state=FilePath(self.cleanup.enter_context(tempfile.TemporaryDirectory())),
            node_key=key.public(NodeKey),
            map=NetworkMap(),
            local_addresses=lambda: host.addresses,
            private_key=key,
            device=device,
            filter=judge,
            events=events,
        )
        return End(number, host, key, device, transport, events, self.make(context))

    async def start(self, end: End) -> None:
        """Start it, and its transport, as a node does."""

        def receive(source: Path, datagrams: Sequence[Buffer]) -> None:
            end.datagrams += [(source, bytes(datagram)) for datagram in datagrams]
            end.tunnel.receive(source, datagrams)

        await end.tunnel.start()
        self.cleanup.push_async_callback(end.tunnel.close)
        await end.transport.start(receive)
        self.cleanup.push_async_callback(end.transport.close)

    async def pair(self) -> tuple[End, End]:
        """Two ends that know each other."""
        one, two = await self.end(1), await self.end(2)
        meet(one, two)
        return one, two

    async def received(self, end: End) -> Received:
        """The next data that the end's tunnel gives to its device."""
        return await self.within(end.device.udp(9).receive(), f"a packet for peer {end.number} should be delivered")

    async def network_settles(self) -> None:
        """Let everything under way arrive: a second of virtual time."""
        await asyncio.sleep(1)

    async def answers_at(self, end: End, port: int) -> str:
        """Let the end be reached at another port too: the endpoint."""
        second = MemoryTransport(end.host, port, name="second")
        await second.start(end.tunnel.receive)
        self.cleanup.push_async_callback(second.close)
        return second.endpoints()[0]

    def targets_of(self, end: End) -> list[Address]:
        """Where the end's datagrams go from now on."""
        targets: list[Address] = []
        self.network.taps.append(lambda host, target, payload: targets.append(target) if host is end.host else None)
        return targets
