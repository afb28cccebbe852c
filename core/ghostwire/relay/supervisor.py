"""Serves by several processes on one port: starts them, tells them what the relay is told, replaces those that die."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import msgspec

from ghostwire.capabilities.relaying import Fellows, Load
from ghostwire.config import Config, split_listen
from ghostwire.engine import Clock, Entropy
from ghostwire.folders import Folders, make_folder
from ghostwire.relay.pipe import Mesh, Recertified, Setup
from ghostwire.relay.relaying import LiveRelaying
from ghostwire.relay.slot import Slot
from ghostwire.wire.endpoint import format_endpoint
from ghostwire.wire.messages import AdmittedKeys, Message

MESH_KEY_BYTES = 32


class Supervisor:
    """The serving half of a relay with ``config.relay.workers`` processes; ``named`` are the --plugin words.

    The first worker finds the port out and runs what a relay runs once only; all share the port by SO_REUSEPORT, and
    link to each other over Unix sockets in a folder of their own.
    """

    def __init__(
        self,
        config: Config,
        named: tuple[str, ...],
        folders: Folders,
        relaying: LiveRelaying,
        *,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._config, self._named, self._folders, self._relaying = config, named, folders, relaying
        self._mesh_key = entropy(MESH_KEY_BYTES)
        count = config.relay.workers
        self.slots = [self._slot(number, clock, entropy) for number in range(count)]
        self._keeping: list[asyncio.Task[None]] = []
        self._paths: tuple[str, ...] = ()
        self.port = 0
        """The port that all share."""

    async def start(self) -> None:
        """Have all serve; a GhostwireError says what can't be had, and nothing is left behind."""
        folder = make_folder(self._folders.run / "relay", 0o700)
        self._paths = tuple(str(folder / f"worker-{number}.sock") for number in range(len(self.slots)))
        self._relaying.measure(self.load)
        self._relaying.on_told(self._tell)
        self._relaying.on_siblings(lambda: self._tell(self._mesh()))
        try:
            self.port = await self.slots[0].start()
            await _all(slot.start() for slot in self.slots[1:])
        except BaseException:
            await self.close()
            raise
        self._keeping = [asyncio.ensure_future(slot.keep()) for slot in self.slots]

    async def close(self) -> None:
        """End all; harmless when called twice."""
        keeping, self._keeping = self._keeping, []
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
        await asyncio.gather(*(slot.close() for slot in self.slots))

    def load(self) -> Load:
        """What all carry together, as they said last."""
        loads = [slot.load for slot in self.slots]
        return Load(sum(load.clients for load in loads), sum(load.bytes for load in loads))

    def certificate_changed(self) -> None:
        """Show the certificate that is on disk now."""
        self._tell(Recertified())

    def _slot(self, number: int, clock: Clock, entropy: Entropy) -> Slot:
        return Slot(number, lambda: self._greeting(number), self._announced, clock, entropy)

    def _greeting(self, number: int) -> Iterator[Message]:
        """All that a new worker has to know."""
        fellows = Fellows(
            own=self._paths[number],
            others=tuple(path for path in self._paths if path != self._paths[number]),
            mesh_key=self._mesh_key,
        )
        given = self._folders.given
        yield Setup(
            number=number,
            config=self._config_of_worker(),
            named=self._named,
            state=str(given) if given is not None else None,
            fellows=fellows,
            level=logging.getLogger().getEffectiveLevel(),
        )
        yield AdmittedKeys(full=True, keys=tuple(self._relaying.keys))
        yield self._mesh()

    def _config_of_worker(self) -> Config:
        """The configuration with the port that was found out."""
        host, port = split_listen(self._config.relay.listen)
        listen = format_endpoint(host, port or self.port)
        return msgspec.structs.replace(self._config, relay=msgspec.structs.replace(self._config.relay, listen=listen))

    def _mesh(self) -> Mesh:
        siblings = self._relaying.siblings
        return Mesh(relays=siblings.relays, mesh_key=siblings.mesh_key)

    def _tell(self, message: Message) -> None:
        for slot in self.slots:
            slot.tell(message)

    def _announced(self, stun_port: int) -> None:
        self._relaying.announce(stun_port=stun_port)


async def _all(starting: Any) -> None:
    """Wait for all; the first failure, once the others are done too."""
    for result in await asyncio.gather(*starting, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
