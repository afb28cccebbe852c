"""How the conformance kit tries the transport: nodes of one region, whose relay is this plugin's own, on a simulated
network."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, cast

from ghostwire import Load, Metrics, Relaying, Siblings, Transport, relay_endpoint
from ghostwire.keys import NodeKey, PrivateKey, RelayKey
from ghostwire.model import MapRelay
from ghostwire.testing import Network, SeededEntropy, running_clock, simulate
from ghostwire.testing.conformance.surroundings import login, transport_context
from ghostwire.testing.contracts import TransportContract
from ghostwire_derp.client.transport import DerpTransport
from ghostwire_derp.relay.relay import Relay
from ghostwire_derp.settings import Settings

REGION, PORT = 7, 3478
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\n\r\n"


class OpenRelaying(Relaying):
    """Admits everybody."""

    budget = 0

    def __init__(self) -> None:
        self.private_key = PrivateKey(SeededEntropy("relay")(32))

    def admits(self, key: NodeKey) -> bool:
        """Anybody."""
        return True

    def on_removed(self, removed: Callable[[Sequence[NodeKey]], None]) -> None:
        """Nobody ever is."""

    @property
    def siblings(self) -> Siblings:
        """None."""
        return Siblings()

    def on_siblings(self, changed: Callable[[], None]) -> None:
        """They stay none."""

    def announce(self, *, stun_port: int) -> None:
        """There is no STUN."""

    def measure(self, load: Callable[[], Load]) -> None:
        """Nobody asks."""


class Door(asyncio.Protocol):
    """Answers the upgrade and gives the stream to the relay, as a front door does."""

    def __init__(self, relay: Relay) -> None:
        self._relay, self._held = relay, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the request."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Until its head is whole."""
        self._held += data
        _, end, rest = self._held.partition(b"\r\n\r\n")
        if end:
            self._transport.write(SWITCHING)
            self._relay.attach(self._transport, "192.0.2.200", rest)


class DerpContract(TransportContract):
    """Nodes of one region."""

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """In virtual time."""
        simulate(lambda: self._with_a_relay(main))

    async def _with_a_relay(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.network, relaying = Network(), OpenRelaying()
        self.endpoints: dict[Transport, str] = {}
        host = self.network.host("relay", "192.0.2.1")
        relay = Relay(relaying, Settings(), running_clock(), SeededEntropy("relay"), Metrics())
        host.listen(PORT, lambda: Door(relay))
        key = RelayKey(relaying.private_key.public_raw)
        self.record = MapRelay(
            id=1, name="relay", region=REGION, region_name="here", host="192.0.2.1", port=PORT, tls=False, key=key
        )
        await main()

    async def make(self) -> Transport:
        """One more node's, with the relay as its home."""
        number = len(self.endpoints) + 1
        host, entropy = self.network.host(f"node{number}", f"198.51.100.{number}"), SeededEntropy(number)
        key = PrivateKey.generate(entropy)
        context = transport_context(
            Settings(),
            Path(self.cleanup.enter_context(tempfile.TemporaryDirectory())),
            clock=running_clock(),
            entropy=entropy,
            sockets=host.sockets,
            log=logging.getLogger("ghostwire.conformance"),
            node_key=key.public(NodeKey),
            identity=login(key, running_clock(), entropy),
        )
        made = DerpTransport(context)
        made.use([self.record], REGION, None)
        self.endpoints[made] = relay_endpoint(REGION, context.node_key)
        return made

    async def ready(self, transport: Transport) -> None:
        """Logged in to its home."""
        while not cast("DerpTransport", transport).connected(REGION):  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.005)

    async def strangers(self, transport: Transport, rubbish: Sequence[bytes]) -> None:
        """None can be."""
        import pytest

        pytest.skip("it dials relays and opens no port: strangers cannot reach it")

    async def take_away(self, transport: Transport) -> Callable[[], str]:
        """Nothing can be."""
        import pytest

        pytest.skip("it dials its relays again for as long as it runs, and needs nothing else")

    def reached_at(self, transport: Transport) -> str:
        """At the relay."""
        return self.endpoints[transport]
