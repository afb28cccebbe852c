"""Relays of a mesh in memory: the real program on a simulated host, and STUN beside it."""

from __future__ import annotations

import logging
from pathlib import Path as FilePath

from ghostwire.config import Config, RelayConfig
from ghostwire.errors import GhostwireError
from ghostwire.folders import Folders
from ghostwire.plugins.host import Host as Plugins
from ghostwire.relay.program import Order, RelayProgram
from ghostwire.relay.serving import Serving
from ghostwire.testing.clock import SeededEntropy
from ghostwire.testing.datagrams import Port
from ghostwire.testing.loop import running_clock
from ghostwire.testing.nat import Address
from ghostwire.testing.network import Host
from ghostwire.wire import stun

RELAY_PORT = 443
STUN_PORT = 3478

log = logging.getLogger("ghostwire.testing")


def serve_stun(host: Host, number: int = STUN_PORT) -> Port:
    """Answer STUN on this port of a host."""

    def receive(source: Address, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            answer = stun.answer(datagram, source)
            if answer is not None:
                port.send(source, [answer])

    port = host.bind(number, receive)
    return port


class MemoryRelay:
    """A relay on a simulated host, without TLS. ``folder`` outlives its restarts."""

    def __init__(self, host: Host, folder: FilePath, plugins: Plugins, token: str) -> None:
        self.host, self.folder = host, folder
        self._plugins, self._token, self._starts = plugins, token, 0
        self.running: RelayProgram | None = None

    @property
    def connected(self) -> bool:
        """Whether it has a session with the server."""
        return self.running is not None and self.running.connected

    async def start(self) -> None:
        """Start it; the first time it enrols by its token."""
        self._starts += 1
        relay = RelayProgram(
            self._plugins,
            Config(relay=RelayConfig(tls=False)),
            Folders(self.folder),
            Order(self._token if self._starts == 1 else None),
            clock=running_clock(),
            entropy=SeededEntropy((self.host.name, self._starts)),
            sockets=self.host.sockets,
            listen=False,
        )
        await relay.start()
        self.running = relay
        assert isinstance(relay.serving, Serving)
        self.host.listen(RELAY_PORT, relay.serving.door.protocol_factory())
        serve_stun(self.host)

    async def stop(self) -> None:
        """End it in an orderly way; harmless when it does not run."""
        running, self.running = self.running, None
        self.host.close()
        if running is not None:
            await running.close()

    async def kill(self) -> None:
        """End it as kill -9 does: nothing is said."""
        self.host.kill()
        try:
            await self.stop()
        except GhostwireError as error:
            log.debug("%s: %s", self.host.name, error)

    async def restart(self) -> None:
        """Stop, and start again."""
        await self.stop()
        await self.start()
