"""A control plane in virtual time, over a storage in memory, and clients that speak to it over streams of the test."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import httpx2
import msgspec
import pytest

from ghostwire.capabilities.authentication import Admission, Authenticator, EnrolmentRequest
from ghostwire.capabilities.storage import Storage, Transaction
from ghostwire.config import ServerConfig
from ghostwire.engine import Clock
from ghostwire.errors import AuthenticationFailed
from ghostwire.frontdoor.app import application
from ghostwire.keys import DiscoKey, MachineKey, NodeKey, PublicKey, RelayKey
from ghostwire.model import Cursor, MapChange, MapRelay, NetworkMap, Node, Relay, User
from ghostwire.server.api.relays import RelayRoutes
from ghostwire.server.api.routes import CoreRoutes
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.plane import ControlPlane
from ghostwire.server.relays.administration import RelayAdministration
from ghostwire.server.relays.enrolment import digest
from ghostwire.testing import MemoryDatabase, MemoryStorage, SeededEntropy, running_clock
from ghostwire.wire import messages
from ghostwire.wire.messages import (
    AdmittedKeys,
    Credentials,
    Hello,
    HomeRelay,
    Host,
    Lacking,
    PeerEndpoints,
    Refused,
    RelayHello,
    RelayLoad,
    RelaySiblings,
    RelayWelcome,
    Welcome,
    decode_to_node,
)


class Open(Authenticator):
    """Admits whoever says ``please``, and ``please ephemeral`` as an ephemeral node."""

    name = "open"

    def admit(self, transaction: Transaction, request: EnrolmentRequest) -> Admission:
        if not request.secret.startswith("please"):
            raise AuthenticationFailed("say please")
        return Admission(user=1, ephemeral="ephemeral" in request.secret)


class Stream:
    """A control stream as the server sees it (see `ghostwire.server.channel.ControlStream`).

    ``slow`` makes its reader slow: what is sent waits until `drain`.
    """

    def __init__(self, machine_key: MachineKey, hello: Hello | RelayHello, client: str = "192.0.2.1") -> None:
        self.machine_key, self.hello, self.client = machine_key, hello, client
        self.closed = False
        self.reason = ""
        self.slow = False
        self.received: list[Any] = []
        self.frames: list[bytes] = []
        self._unread: list[bytes] = []
        self._news = asyncio.Event()
        self._message: Callable[[Any], None] | None = None
        self._over: Callable[[], None] | None = None
        self._drained: Callable[[], None] | None = None

    # What the server calls

    @property
    def pending(self) -> int:
        return sum(map(len, self._unread)) + (1 << 20 if self.slow else 0)

    def verify(self, key: PublicKey, proof: bytes) -> bool:
        return proof == b"proof of " + key.raw

    def on_message(self, callback: Callable[[Any], None]) -> None:
        self._message = callback

    def on_closed(self, callback: Callable[[], None]) -> None:
        self._over = callback

    def on_drained(self, callback: Callable[[], None]) -> None:
        self._drained = callback

    def send(self, frame: bytes) -> bool:
        if self.closed:
            return False
        if self.slow:
            if isinstance(decode_to_node(frame), PeerEndpoints | HomeRelay | RelaySiblings):
                return False
            self._unread.append(frame)
        else:
            self._deliver(frame)
        return True

    def close(self, reason: str = "") -> None:
        if not self.closed:
            self.closed, self.reason = True, reason
            self._news.set()
            if self._over is not None:
                asyncio.get_running_loop().call_soon(self._over)

    # What the client does

    def lose(self) -> None:
        """The server is no more: neither says anything to the other."""
        self.closed = True
        self._news.set()

    def say(self, message: Any) -> None:
        assert self._message is not None
        self._message(message)

    def drain(self) -> None:
        self.slow = False
        unread, self._unread = self._unread, []
        for frame in unread:
            self._deliver(frame)
        if self._drained is not None:
            self._drained()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for what the server sends until the condition holds."""
        async with asyncio.timeout(60):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def of(self, kind: type[Any]) -> list[Any]:
        """The messages of this type so far."""
        return [message for message in self.received if isinstance(message, kind)]

    def _deliver(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.received.append(decode_to_node(frame))
        self._news.set()


class Client:
    """A node: its keys, its map, and the stream it has at the moment."""

    def __init__(self, plane: Callable[[], ControlPlane], number: int, **host: str) -> None:
        self._plane, self.number = plane, number
        self.machine_key = MachineKey(number.to_bytes(32, "big"))
        self.node_key = NodeKey((1000 + number).to_bytes(32, "big"))
        self.disco_key = DiscoKey((3000 + number).to_bytes(32, "big"))
        self.host = Host(**(host or {"hostname": f"host{number}"}))
        self.map = NetworkMap()
        self.stream: Stream | None = None
        self.applied = 0

    def hello(self, secret: str | None = None, *, cursor: Cursor | None = None, **changes: Any) -> Hello:
        hello = Hello(
            protocol=messages.PROTOCOL,
            node_key=self.node_key,
            disco_key=self.disco_key,
            proof=b"proof of " + self.node_key.raw,
            host=self.host,
            cursor=cursor,
            credentials=None if secret is None else Credentials("open", secret),
        )
        return msgspec.structs.replace(hello, **changes)

    def connect(self, secret: str | None = "please", *, client: str = "192.0.2.1", **changes: Any) -> Stream:
        """Open a stream that resumes at the map's cursor."""
        stream = Stream(self.machine_key, self.hello(secret, cursor=self.map.cursor, **changes), client)
        self.stream, self.applied = stream, 0
        self._plane().accept(stream)  # type: ignore[arg-type]
        return stream

    async def join(self, secret: str | None = "please", **changes: Any) -> Welcome:
        """Connect and wait for the welcome and the first map."""
        stream = self.connect(secret, **changes)
        await stream.until(lambda: stream.of(MapChange))
        self.read()
        return stream.of(Welcome)[0]

    async def refused(self, secret: str | None = "please", **changes: Any) -> Refused:
        """Connect and wait to be refused."""
        stream = self.connect(secret, **changes)
        await stream.until(lambda: stream.closed)
        assert not stream.of(Welcome)
        return stream.of(Refused)[0]

    def read(self) -> NetworkMap:
        """Apply what arrived to the map, and ask for what it lacks."""
        assert self.stream is not None
        for message in self.stream.received[self.applied :]:
            if isinstance(message, MapChange):
                self.map.apply(message)
        self.applied = len(self.stream.received)
        if self.map.lacking and not self.stream.closed:
            self.stream.say(Lacking(nodes=tuple(self.map.lacking)))
        return self.map

    def leave(self) -> None:
        if self.stream is not None:
            self.stream.close("the test left")
            self.stream = None


class RelayClient:
    """A relay: its keys, the node keys it may serve, its siblings, and the stream it has at the moment."""

    def __init__(self, plane: Callable[[], ControlPlane], number: int) -> None:
        self._plane, self.number = plane, number
        self.machine_key = MachineKey((5000 + number).to_bytes(32, "big"))
        self.key = RelayKey((6000 + number).to_bytes(32, "big"))
        self.keys: set[NodeKey] = set()
        self.siblings: dict[str, MapRelay] = {}
        self.stream: Stream | None = None
        self.applied = 0

    def hello(self, secret: str | None = None, **changes: Any) -> RelayHello:
        credentials = None if secret is None else Credentials("relay", secret)
        proof = b"proof of " + self.key.raw
        hello = RelayHello(protocol=messages.PROTOCOL, key=self.key, proof=proof, credentials=credentials)
        return msgspec.structs.replace(hello, **changes)

    def connect(self, secret: str | None = None, *, client: str = "192.0.2.9", **changes: Any) -> Stream:
        self.stream, self.applied = Stream(self.machine_key, self.hello(secret, **changes), client), 0
        self._plane().accept(self.stream)  # type: ignore[arg-type]
        return self.stream

    async def join(self, secret: str | None = None, **changes: Any) -> RelayWelcome:
        """Connect and wait for the welcome, the keys and the siblings."""
        stream = self.connect(secret, **changes)
        await stream.until(lambda: stream.of(AdmittedKeys) and stream.of(RelaySiblings))
        self.read()
        return stream.of(RelayWelcome)[0]

    async def refused(self, secret: str | None = None, **changes: Any) -> Refused:
        stream = self.connect(secret, **changes)
        await stream.until(lambda: stream.closed)
        assert not stream.of(RelayWelcome)
        return stream.of(Refused)[0]

    def read(self) -> set[NodeKey]:
        """Apply what arrived; the keys it may serve."""
        assert self.stream is not None
        for message in self.stream.received[self.applied :]:
            if isinstance(message, AdmittedKeys):
                self.keys = ((set() if message.full else self.keys) | set(message.keys)) - set(message.removed)
            elif isinstance(message, RelaySiblings):
                self.siblings = {relay.name: relay for relay in message.relays}
        self.applied = len(self.stream.received)
        return self.keys

    def loaded(self, clients: int) -> None:
        assert self.stream is not None
        self.stream.say(RelayLoad(clients=clients))

    def leave(self) -> None:
        if self.stream is not None:
            self.stream.close("the test left")
            self.stream = None


class Rig:
    """A server that can be restarted on the same database, and its clients."""

    def __init__(self, clock: Clock, config: ServerConfig, storage: Callable[[], Storage]) -> None:
        self.clock, self.config, self._storage = clock, config, storage
        self.entropy = SeededEntropy("rig")
        self.plane: ControlPlane

    async def start(self) -> None:
        self.plane = ControlPlane(
            LiveMesh(self.clock),
            self._storage(),
            [Open()],
            self.config,
            clock=self.clock,
            entropy=self.entropy,
            log=logging.getLogger("ghostwire.server"),
        )
        await self.plane.start()

    async def restart(self) -> None:
        await self.plane.close()
        await self.start()

    def client(self, number: int, **host: str) -> Client:
        return Client(lambda: self.plane, number, **host)

    def relay(self, number: int) -> RelayClient:
        return RelayClient(lambda: self.plane, number)

    async def add_relay(self, name: str, *, secret: str = "", **fields: Any) -> Relay:
        """A record, of a relay that has yet to enrol where there is a secret, else of one with a key."""
        if secret:
            fields = {"digest": digest(secret), "expires": self.plane.mesh.now() + 3600, **fields}
        else:
            fields = {"key": RelayKey(name.encode().ljust(32)), **fields}
        fields = {"region": 900, "region_name": "north", "host": f"{name}.example.com", **fields}

        def work(transaction: Transaction) -> Relay:
            relay = Relay(id=transaction.new_id(Relay), name=name, **fields)
            transaction.put(relay)
            return relay

        return await self.plane.mesh.write(work)

    async def relays_of(self, *names: str, **fields: Any) -> list[RelayClient]:
        """Relays of these names that have enrolled and are connected."""
        made = []
        for name in names:
            relay = await self.add_relay(name, secret=f"secret of {name}", **fields)
            made.append(self.relay(relay.id))
            await made[-1].join(f"secret of {name}")
        return made

    async def clients(self, count: int) -> list[Client]:
        """So many that have joined."""
        made = [self.client(number) for number in range(1, count + 1)]
        for client in made:
            await client.join()
        return made

    async def settle(self) -> None:
        """Let a round of the streams pass."""
        await asyncio.sleep(0.2)

    @property
    def nodes(self) -> dict[str, Node]:
        return {node.name: node for node in self.plane.mesh.list(Node)}

    @property
    def relays(self) -> dict[str, Relay]:
        return {relay.name: relay for relay in self.plane.mesh.list(Relay)}

    @property
    def users(self) -> dict[str, User]:
        return {user.name: user for user in self.plane.mesh.list(User)}


@contextlib.asynccontextmanager
async def running(
    *, config: ServerConfig | None = None, storage: Callable[[], Storage] | None = None, clock: Clock | None = None
) -> AsyncIterator[Rig]:
    """A rig within a simulation unless it has a clock, over a storage in memory unless another is given."""
    disk = MemoryDatabase()
    rig = Rig(clock or running_clock(), config or ServerConfig(), storage or (lambda: MemoryStorage(disk)))
    await rig.start()
    try:
        yield rig
    finally:
        await rig.plane.close()


@pytest.fixture
def serve() -> Callable[..., contextlib.AbstractAsyncContextManager[Rig]]:
    """``async with serve() as rig``: a server within a simulation."""
    return running


def names(network: NetworkMap) -> Iterable[str]:
    """The names in a map."""
    return sorted(node.name for node in network.nodes.values())


def client_of(rig: Rig, *, admin: bool = True) -> httpx2.AsyncClient:
    """A client of the application, as the front door would present it."""
    plane = rig.plane
    mesh, homes = plane.mesh, plane.relays.homes
    core = CoreRoutes(mesh, plane.administration, plane.sessions.presence, homes, lambda: {"version": "1"})
    administration = RelayAdministration(mesh, plane.relays, rig.entropy)
    relays = RelayRoutes(administration, plane.relays, lambda secret: f"token of {secret}", mesh.now)
    app = application([core, relays])

    async def door(scope, receive, send):
        scope["state"] = {"admin": admin}
        await app(scope, receive, send)

    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=door), base_url="http://server")


@pytest.fixture
def api() -> Callable[..., httpx2.AsyncClient]:
    """``api(rig)``: an administrator's client of the server's API; ``admin=False``: a stranger's."""
    return client_of


@pytest.fixture
def make_client() -> type[Client]:
    """`Client`, for tests that have several servers."""
    return Client


@pytest.fixture
def make_relay() -> type[RelayClient]:
    """`RelayClient`, for the same."""
    return RelayClient


@pytest.fixture
def authenticator() -> Open:
    """Admits whoever says please."""
    return Open()
