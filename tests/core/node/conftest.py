"""Doubles that a node is composed of in these tests: paths, transports, a tunnel, a platform, a server."""

import asyncio
import gc
import os
import sys
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

import pytest

from ghostwire import (
    Buffer,
    NetworkConfig,
    NodeContext,
    Path,
    PeerStats,
    Provider,
    Receive,
    Sockets,
    Transport,
    Tunnel,
    TunnelContext,
    TunnelPeer,
)
from ghostwire.errors import PlatformError, Unavailable
from ghostwire.keys import ControlKey, DiscoKey, NodeKey, PrivateKey
from ghostwire.model import Cursor, LabelSet, MapChange, MapNode, Rule
from ghostwire.node.node import Node
from ghostwire.node.parts import Parts
from ghostwire.testing import ManualClock, MemoryPlatform, SeededEntropy, running_clock
from ghostwire.testing.network import Host
from ghostwire.wire.jointoken import JoinToken
from ghostwire.wire.messages import Hello, Leave, Refused, Welcome

CONTROL_KEY = ControlKey(bytes([7] * 32))
URL = "https://server.example:8080"
CONFIG = NetworkConfig("gw0", 1280, ("100.64.0.1/32", "fd00:1:2::6440:1/128"), ("100.64.0.0/10", "fd00:1:2::/48"))
"""What a platform is asked for while the node under test is up."""


class FakePath(Path):
    """Remembers what was sent over it; equal to any other with its endpoint."""

    relayed = False

    def __init__(self, endpoint: str, transport: str = "udp") -> None:
        self.transport, self.endpoint = transport, endpoint
        self.sent: list[bytes] = []
        self.open = True

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        self.sent += [bytes(datagram) for datagram in datagrams]
        return self.open

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Path) and (self.transport, self.endpoint) == (other.transport, other.endpoint)

    def __hash__(self) -> int:
        return hash((self.transport, self.endpoint))

    def __repr__(self) -> str:
        return f"FakePath({self.endpoint}, {self.transport})"


class FakeTransport(Transport):
    """Makes `FakePath`s, one object for each endpoint; ``fails`` makes it refuse to start."""

    def __init__(self, name: str = "udp", advertised: Sequence[str] = ("192.0.2.9:41641",), fails: str = "") -> None:
        self.name, self.advertised, self.fails = name, list(advertised), fails
        self.paths: dict[str, FakePath] = {}
        self.receive: Receive | None = None

    async def start(self, receive: Receive) -> None:
        if self.fails:
            raise PlatformError(self.fails)
        self.receive = receive

    def endpoints(self) -> Sequence[str]:
        return self.advertised

    def path(self, endpoint: str) -> FakePath:
        if "nonsense" in endpoint:
            raise ValueError(endpoint)
        return self.paths.setdefault(endpoint, FakePath(endpoint, self.name))

    async def close(self) -> None:
        self.receive = None


class FakeTunnel(Tunnel):
    """Remembers its peers and paths; the test plays the events."""

    name = "fake"

    def __init__(self, context: TunnelContext) -> None:
        self.context, self.events = context, context.events
        self.peers: dict[int, TunnelPeer] = {}
        self.applied = 0
        self.paths: dict[int, Sequence[Path]] = {}
        self.received: list[tuple[Path, list[bytes]]] = []
        self.running = False

    async def start(self) -> None:
        self.running = True

    def apply(self, peers: Collection[TunnelPeer]) -> None:
        self.applied += 1
        self.peers = {peer.id: peer for peer in peers}

    def attach(self, peer: int, paths: Sequence[Path]) -> None:
        self.paths[peer] = tuple(paths)

    def receive(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        self.received.append((source, [bytes(datagram) for datagram in datagrams]))

    def stats(self) -> Sequence[PeerStats]:
        return [PeerStats(id_, 0, 0, 0, None) for id_ in self.peers]

    async def close(self) -> None:
        self.running = False


class NoWayOut(Sockets):
    """Sockets of a machine that reaches nobody."""

    def udp(self, host: str, port: int) -> Any:
        raise PlatformError("no network")

    async def connect(self, protocol: Any, host: str, port: int, **options: Any) -> Any:
        raise Unavailable(f"no way to {host}")


class FakeChannel:
    """A node's channel whose far end is the test: ``sent`` holds what the node said, `say` answers."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.closed = False
        self._inbox: deque[Any] = deque()
        self._arrived = asyncio.Event()

    def say(self, *messages: Any) -> None:
        self._inbox.extend(messages)
        self._arrived.set()

    def cut(self) -> None:
        self.say(Unavailable("the connection broke"))

    def send(self, message: Any) -> bool:
        self.sent.append(message)
        return not self.closed

    async def receive(self) -> Any:
        while not self._inbox:
            self._arrived.clear()
            await self._arrived.wait()
        message = self._inbox.popleft()
        if isinstance(message, Exception):
            raise message
        return message

    def prove(self, node_key: PrivateKey) -> bytes:
        return b"proof by " + node_key.public_raw

    async def close(self) -> None:
        self.closed = True

    def heard(self, kind: type) -> list[Any]:
        return [message for message in self.sent if isinstance(message, kind)]


class FakeServer:
    """Answers each Hello by ``answer``, a function of it that gives messages, and a logout where it ``confirms``.

    ``down`` refuses connections.
    """

    def __init__(self) -> None:
        self.channels: list[FakeChannel] = []
        self.attempts: list[int] = []
        self.down: Exception | None = None
        self.confirms = True
        self.answer: Callable[[Hello], Sequence[Any]] = lambda hello: (welcome(hello), full_map(hello))

    async def connect(self, url: str, machine_key: Any, server_key: Any, sockets: Any, entropy: Any) -> FakeChannel:
        self.attempts.append(running_clock().now())
        if self.down is not None:
            raise self.down
        self.channels.append(_Answering(self))
        return self.channels[-1]

    @property
    def channel(self) -> FakeChannel:
        return self.channels[-1]

    @property
    def hellos(self) -> list[Hello]:
        return [hello for channel in self.channels for hello in channel.heard(Hello)]


class _Answering(FakeChannel):
    def __init__(self, server: FakeServer) -> None:
        super().__init__()
        self._server = server

    def send(self, message: Any) -> bool:
        if isinstance(message, Hello):
            self.say(*self._server.answer(message))
        if isinstance(message, Leave) and message.logout and self._server.confirms:
            self.say(Refused(code="removed", message="removed"))
        return super().send(message)


def map_node(id_: int, **changes: Any) -> MapNode:
    """Node ``id_`` of the mesh: 100.64.0.id and its IPv6 twin."""
    fields: dict[str, Any] = {
        "id": id_,
        "stable_id": f"stable{id_}",
        "name": f"node{id_}",
        "node_key": NodeKey(bytes([id_] * 32)),
        "disco_key": DiscoKey(bytes([id_] * 32)),
        "addresses": (f"100.64.0.{id_}", f"fd00:1:2::6440:{id_:x}"),
        "user": 1,
    }
    return MapNode(**{**fields, **changes})


def own_node(hello: Hello) -> MapNode:
    """The node under test is number 1."""
    return map_node(1, node_key=hello.node_key, disco_key=hello.disco_key)


def welcome(hello: Hello, **changes: Any) -> Welcome:
    return Welcome(**{"protocol": 1, "node": own_node(hello), "domain": "mesh.local", **changes})


def full_map(hello: Hello, *others: int, revision: int = 5) -> MapChange:
    """A full map without a policy: this node, and ``others`` (2 and 3 where none are given)."""
    return MapChange(
        cursor=Cursor(revision, b"mark"),
        full=True,
        nodes=(own_node(hello), *(map_node(id_) for id_ in others or (2, 3))),
        rules=(Rule(id=1, sources=(0,), destinations=(0,)),),
        sets=(LabelSet(id=0, everyone=True),),
        own_labels=(0,),
    )


async def nobody_known(host: str) -> Sequence[str]:
    raise OSError(f"{host}: not known")


@dataclass
class Rig:
    """A node with everything around it; `node` makes it anew on the same state folder, as a restart does."""

    state: FilePath
    clock: ManualClock
    server: FakeServer = field(default_factory=FakeServer)
    host: Host | None = None
    transports: list[FakeTransport] = field(default_factory=lambda: [FakeTransport()])
    tunnels: list[FakeTunnel] = field(default_factory=list)
    contexts: list[NodeContext] = field(default_factory=list)
    platform: MemoryPlatform = field(init=False)
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.platform = MemoryPlatform(self.host, clock=self.clock)

    @property
    def tunnel(self) -> FakeTunnel:
        return self.tunnels[-1]

    @property
    def token(self) -> str:
        return JoinToken(URL, "the secret", CONTROL_KEY).encode()

    def parts(self) -> Parts:
        parts = Parts(
            state=self.state,
            transports=[Provider(each.name, self._offer(each), rank) for rank, each in enumerate(self.transports)],
            tunnel=Provider("fake", self._make_tunnel),
            platform=self.platform,
            sockets=None,  # type: ignore[arg-type]
            clock=self.clock,
            entropy=SeededEntropy(1),
            connect=self.server.connect,
            echo=self._echo,
            lookup=nobody_known,
        )
        return replace(parts, **self.overrides)

    def node(self) -> Node:
        return Node(self.parts())

    async def joined(self) -> Node:
        """A node that has just joined and runs."""
        node = self.node()
        await node.start()
        await node.up(self.token)
        return node

    def _offer(self, transport: FakeTransport) -> Callable[[NodeContext], FakeTransport]:
        def create(context: NodeContext) -> FakeTransport:
            self.contexts.append(context)
            return transport

        return create

    def _make_tunnel(self, context: TunnelContext) -> FakeTunnel:
        self.tunnels.append(FakeTunnel(context))
        return self.tunnels[-1]

    async def _echo(self, address: str, timeout: float) -> float:
        if address not in {"100.64.0.2", "fd00:1:2::6440:2"}:
            raise Unavailable(f"{address}: no answer")
        return 0.0125


class Kit:
    """What tests need of this module, which they cannot import."""

    CONFIG, CONTROL_KEY, URL = CONFIG, CONTROL_KEY, URL
    Channel, Path, Server, Transport, Tunnel = FakeChannel, FakePath, FakeServer, FakeTransport, FakeTunnel
    NoWayOut = NoWayOut
    full_map, map_node, own_node, welcome = map(staticmethod, (full_map, map_node, own_node, welcome))

    def __init__(self, state: FilePath) -> None:
        self.state = state

    def rig(self, **changes: Any) -> Rig:
        """To be made within a simulation."""
        return Rig(self.state, running_clock(), **changes)

    @staticmethod
    def refuse(code: str, retry_after: int = 0) -> Callable[[Hello], Sequence[Any]]:
        return lambda hello: [Refused(code=code, message=f"no: {code}", retry_after=retry_after)]


def count_calls(do: Callable[[], object], within: str = "") -> int:
    """Calls of Python's and C's functions that files make whose path holds ``within``, without the collector's."""
    counted = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal counted
        caller = frame if event == "c_call" else frame.f_back
        counted += event in ("call", "c_call") and within in caller.f_code.co_filename

    gc.collect()
    gc.disable()
    sys.setprofile(count)
    try:
        do()
    finally:
        sys.setprofile(None)
        gc.enable()
    return counted


@pytest.fixture
def calls_of() -> Callable[..., int]:
    return count_calls


@pytest.fixture
def kit(tmp_path: FilePath) -> Kit:
    state = tmp_path / "node"
    state.mkdir(mode=0o700)
    return Kit(state)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def entropy() -> Callable[[int], bytes]:
    return os.urandom
