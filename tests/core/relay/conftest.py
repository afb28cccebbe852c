"""A relay program in virtual time, the plugins it serves with, and a server that says what the test wants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from ghostwire import Load, RelayContext, RequestHead, Service, StreamUpgrade
from ghostwire.config import Config, RelayConfig
from ghostwire.errors import Unavailable
from ghostwire.folders import Folders
from ghostwire.keys import ControlKey, NodeKey, PrivateKey
from ghostwire.model import MapRelay
from ghostwire.relay.program import Order, RelayProgram
from ghostwire.testing import SeededEntropy, running_clock
from ghostwire.wire.jointoken import JoinToken
from ghostwire.wire.messages import AdmittedKeys, Refused, RelayHello, RelayWelcome

CONTROL = ControlKey(b"\x07" * 32)
URL = "https://mesh.example:8080"
TOKEN = JoinToken(URL, "gwrelay-secret", CONTROL, scheme="relay").encode()
MESH_KEY = b"\x11" * 32


def key(number: int) -> NodeKey:
    return NodeKey(number.to_bytes(32))


def relay(number: int = 1, host: str = "relay.example") -> MapRelay:
    return MapRelay(id=number, name=f"r{number}", region=1, region_name="home", host=host, port=443)


class Channel:
    """One session, as the relay sees it."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self.said: list[Any] = []
        self.closed = False

    def send(self, message: Any) -> bool:
        self.said.append(message)
        if isinstance(message, RelayHello):
            self._server.hellos.append(message)
            for answer in self._server.answers(message):
                self.tell(answer)
        return True

    async def receive(self) -> Any:
        message = await self._messages.get()
        if message is None:
            raise Unavailable(f"{URL}: cut off")
        return message

    def prove(self, key: PrivateKey) -> bytes:
        return b"proof of " + key.public_raw

    async def close(self) -> None:
        self.closed = True

    def tell(self, message: Any) -> None:
        """Say this to the relay; None cuts the session off."""
        self._messages.put_nowait(message)


class FakeServer:
    """Knows relays that came with a secret; ``up`` whether it answers at all."""

    def __init__(self) -> None:
        self.up, self.known = True, False
        self.keys: tuple[NodeKey, ...] = (key(1), key(2))
        self.relay = relay()
        self.hellos: list[RelayHello] = []
        self.channels: list[Channel] = []
        self.attempts = 0

    async def connect(self, url: str, machine_key: Any, server_key: ControlKey, *rest: Any) -> Channel:
        self.attempts += 1
        assert (url, server_key) == (URL, CONTROL)
        if not self.up:
            raise Unavailable(f"{URL}: no answer")
        self.channels.append(Channel(self))
        return self.channels[-1]

    @property
    def channel(self) -> Channel:
        return self.channels[-1]

    def answers(self, hello: RelayHello) -> list[Any]:
        if hello.credentials is not None and hello.credentials.secret != "gwrelay-secret":
            return [Refused(code="authentication-failed", message="this token is used up; make a new one")]
        if not self.known and hello.credentials is None:
            return [Refused(code="login-required", message="who are you?")]
        self.known = True
        welcome = RelayWelcome(protocol=1, relay=self.relay, mesh_key=MESH_KEY)
        return [welcome, AdmittedKeys(full=True, keys=self.keys)]


class Upgrade(StreamUpgrade):
    """Notes what the program tells a relay protocol."""

    token = "derp"

    def __init__(self, context: RelayContext) -> None:
        self.context, self.relaying = context, context.relaying
        self.removed: list[NodeKey] = []
        self.siblings: list[Any] = []
        self.carried = Load(0, 0)
        self.relaying.on_removed(self.removed.extend)
        self.relaying.on_siblings(lambda: self.siblings.append(self.relaying.siblings))
        self.relaying.measure(lambda: self.carried)

    def take(self, head: RequestHead, transport: asyncio.Transport, rest: bytes) -> None:
        transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")


class Stun(Service):
    """Announces a port, as a STUN server does."""

    name = "stun"

    def __init__(self, context: RelayContext) -> None:
        self.context, self.running = context, False

    async def start(self) -> None:
        self.running = True
        self.context.relaying.announce(stun_port=3478)

    async def close(self) -> None:
        self.running = False


class Plugins:
    """The host of one plugin, ``test``."""

    def __init__(self) -> None:
        self.made: dict[str, list[Any]] = {}
        self.kinds: dict[str, list[Callable[[Any], Any]]] = {
            "ghostwire_upgrades": [Upgrade],
            "ghostwire_services": [Stun],
        }

    def create_all(self, hook: str, build: Callable[[str, Any], Any]) -> list[Any]:
        self.made[hook] = [kind(build("test", None)) for kind in self.kinds.get(hook, [])]
        return self.made[hook]

    @property
    def upgrade(self) -> Upgrade:
        return cast("Upgrade", self.made["ghostwire_upgrades"][0])


class Rig:
    """A relay of one state folder beside its server."""

    def __init__(self, folder: Path) -> None:
        self.folders, self.server, self.plugins = Folders(folder), FakeServer(), Plugins()
        self.starts = 0

    def program(self, token: str | None = None, config: RelayConfig | None = None, **order: Any) -> RelayProgram:
        self.starts += 1
        return RelayProgram(
            cast("Any", self.plugins),
            Config(relay=config or RelayConfig()),
            self.folders,
            Order(token=token, **order),
            clock=running_clock(),
            entropy=SeededEntropy(("relay", self.starts)),
            sockets=cast("Any", None),
            connect=cast("Any", self.server.connect),
            listen=False,
        )

    @contextlib.asynccontextmanager
    async def running(self, token: str | None = None, **given: Any) -> AsyncIterator[RelayProgram]:
        """A relay that is up; what it is told has arrived."""
        program = self.program(token, **given)
        await program.start()
        try:
            await asyncio.sleep(0.01)
            yield program
        finally:
            await program.close()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)
