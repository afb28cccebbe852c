"""A control plane in virtual time, over a storage in memory, and clients that speak to it over streams of the test."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import msgspec
import pytest

from ghostwire.capabilities.authentication import Admission, Authenticator, EnrolmentRequest
from ghostwire.capabilities.storage import Storage, Transaction
from ghostwire.config import ServerConfig
from ghostwire.engine import Clock
from ghostwire.errors import AuthenticationFailed
from ghostwire.keys import DiscoKey, MachineKey, NodeKey
from ghostwire.model import Cursor, MapChange, NetworkMap, Node, User
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.plane import ControlPlane
from ghostwire.testing import MemoryDatabase, MemoryStorage, SeededEntropy, running_clock
from ghostwire.wire import messages
from ghostwire.wire.messages import Credentials, Hello, Host, PeerEndpoints, Refused, Welcome, decode_to_node


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

    def __init__(self, machine_key: MachineKey, hello: Hello, client: str = "192.0.2.1") -> None:
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

    def verify(self, node_key: NodeKey, proof: bytes) -> bool:
        return proof == b"proof of " + node_key.raw

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
            if isinstance(decode_to_node(frame), PeerEndpoints):
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
        self.host = Host(**(host or {"hostname": f"host{number}"}))
        self.map = NetworkMap()
        self.stream: Stream | None = None
        self.applied = 0

    def hello(self, secret: str | None = None, *, cursor: Cursor | None = None, **changes: Any) -> Hello:
        hello = Hello(
            protocol=messages.PROTOCOL,
            node_key=self.node_key,
            disco_key=DiscoKey(self.node_key.raw),
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
        """Apply what arrived to the map."""
        assert self.stream is not None
        for message in self.stream.received[self.applied :]:
            if isinstance(message, MapChange):
                self.map.apply(message)
        self.applied = len(self.stream.received)
        return self.map

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
