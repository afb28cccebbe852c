"""Nodes that speak disco over lines that remember what was sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from nacl.public import Box as NaClBox
from nacl.public import PrivateKey as NaClPrivateKey
from nacl.public import PublicKey as NaClPublicKey

from ghostwire import Buffer, Path, relay_endpoint
from ghostwire.keys import DiscoKey, NodeKey, PrivateKey
from ghostwire.model import Cursor, MapChange, MapNode, NetworkMap
from ghostwire.node.disco.disco import Disco
from ghostwire.testing import ManualClock, SeededEntropy

MAGIC = b"TS\xf0\x9f\x92\xac"
TRANSACTION = b"twelve bytes"


class Line(Path):
    """Remembers what was sent over it; equal to any other with its endpoint."""

    def __init__(self, endpoint: str, transport: str = "udp") -> None:
        self.endpoint, self.transport = endpoint, transport
        self.relayed = transport == "derp"
        self.sent: list[bytes] = []
        self.open = True

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        self.sent += [bytes(datagram) for datagram in datagrams]
        return self.open

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Line) and (self.transport, self.endpoint) == (other.transport, other.endpoint)

    def __hash__(self) -> int:
        return hash((self.transport, self.endpoint))

    def __repr__(self) -> str:
        return f"Line({self.endpoint})"


class End:
    """One node: its keys, what it is told of (``told``) and its Disco; ``number`` is its id."""

    def __init__(self, number: int, network: NetworkMap, clock: ManualClock) -> None:
        self.number, self._network, self._clock = number, network, clock
        self.entropy = SeededEntropy(number)
        self.key = PrivateKey.generate(self.entropy)
        self.node_key = NodeKey(self.entropy(32))
        self.told: list[tuple[Any, ...]] = []
        self.disco: Disco

    def start(self) -> None:
        self.disco = Disco(self.key, self.node_key, self._network, self._clock, self.entropy, self)

    @property
    def node(self) -> MapNode:
        return self.map_node()

    def map_node(self, **changes: Any) -> MapNode:
        fields: dict[str, Any] = {
            "id": self.number,
            "stable_id": f"stable{self.number}",
            "name": f"node{self.number}",
            "node_key": self.node_key,
            "disco_key": self.key.public(DiscoKey),
            "addresses": (f"100.64.0.{self.number}",),
            "user": 1,
        }
        return MapNode(**{**fields, **changes})

    def over_relay(self, region: int = 900) -> Line:
        """A path that leads to this node over a relay, as what it sent there comes from."""
        return Line(relay_endpoint(region, self.node_key), "derp")

    def boxed(self, to: End, plain: bytes) -> bytes:
        """A datagram with any contents from this node, made by the NaCl library."""
        box = NaClBox(NaClPrivateKey(self.key.raw), NaClPublicKey(to.key.public_raw))
        return MAGIC + self.key.public_raw + bytes(box.encrypt(plain, self.entropy(24)))

    def opened(self, by: End, datagram: bytes) -> bytes:
        """What is in a datagram of this node, opened by the NaCl library."""
        assert datagram[:38] == MAGIC + self.key.public_raw
        box = NaClBox(NaClPrivateKey(by.key.raw), NaClPublicKey(self.key.public_raw))
        return bytes(box.decrypt(datagram[38:]))

    def pinged(self, peer: int, source: Path) -> None:
        self.told.append(("pinged", peer, source))

    def ponged(self, peer: int, source: Path, transaction: bytes, mapped: str) -> None:
        self.told.append(("ponged", peer, source, transaction, mapped))

    def called(self, peer: int, endpoints: tuple[str, ...]) -> None:
        self.told.append(("called", peer, endpoints))


class House:
    """A map with nodes 1 (alice), 2 (bob) and 3 (carol), who share it."""

    Line, TRANSACTION, End = Line, TRANSACTION, End

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.network = NetworkMap()
        self.ends = [End(number, self.network, self.clock) for number in (1, 2, 3)]
        self.alice, self.bob, self.carol = self.ends
        self.network.apply(MapChange(cursor=Cursor(1, b"m"), full=True, nodes=tuple(end.node for end in self.ends)))
        for end in self.ends:
            end.start()

    def change(self, **fields: Any) -> None:
        """Change the map, and let all follow."""
        change = MapChange(cursor=Cursor(2, b"m"), **fields)
        self.network.apply(change)
        for end in self.ends:
            end.disco.follow(change)

    def ping(self, *, padded: bool = False) -> bytes:
        """A ping of alice's to bob."""
        line = Line("192.0.2.2:41641")
        assert self.alice.disco.ping(2, line, TRANSACTION, padded=padded)
        return line.sent[0]

    def plain_ping(self, node_key: NodeKey | None = None) -> bytes:
        """The message in a ping that names alice, or another."""
        return b"\x01\x00" + TRANSACTION + (node_key or self.alice.node_key).raw


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def make_line() -> Callable[..., Line]:
    return Line


@pytest.fixture(scope="session")
def house_factory() -> type[House]:
    """For properties, which need a new house each time."""
    return House
