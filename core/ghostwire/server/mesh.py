"""The one service behind every API: records in memory, writes through the storage, and who is told of commits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ghostwire.capabilities.storage import Commit, Snapshot, Storage, Transaction
from ghostwire.engine import SECOND, Clock
from ghostwire.errors import Unavailable
from ghostwire.frontdoor.conditions import attended
from ghostwire.keys import NodeKey
from ghostwire.model import Record
from ghostwire.server.state import State, expired

T = TypeVar("T")
R = TypeVar("R", bound=Record)
Follower = Callable[[Commit], None]


class LiveMesh:
    """The `Mesh` of a running server. Followers are called on the loop, in order, after the state took a commit."""

    def __init__(self, clock: Clock) -> None:
        self.state = State()
        self._clock = clock
        self._storage: Storage | None = None
        self._followers: list[Follower] = []

    async def open(self, storage: Storage) -> Snapshot:
        """Open the storage and read it; StateError where it can't be used."""
        snapshot = await storage.open(self._committed)
        self.state.load(snapshot)
        self._storage = storage
        return snapshot

    def follow(self, follower: Follower) -> None:
        """Call this with every later commit."""
        self._followers.append(follower)

    def now(self) -> int:
        """Unix seconds."""
        return self._clock.wall() // SECOND

    def list(self, kind: type[R]) -> Sequence[R]:
        """All records of this kind, by id, as of the last commit."""
        return self.state.list(kind)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Change records in one durable transaction; viewers are told."""
        if self._storage is None:
            raise Unavailable("the mesh is not open")
        return await self._storage.write(attended(work))

    async def catch_up(self) -> None:
        """Have the state hold all that was stored when this was called, by other servers too.

        It is no part of the request within which it is called: what that attends to waits for its own work.
        """
        if self._storage is None:
            raise Unavailable("the mesh is not open")
        await self._storage.write(_nothing)

    def admits(self, key: NodeKey) -> bool:
        """Whether this node key belongs to the mesh and has not expired."""
        node = self.state.node_of_key(key)
        return node is not None and not expired(node, self.now())

    async def close(self) -> None:
        """Close the storage."""
        if self._storage is not None:
            await self._storage.close()

    def _committed(self, commit: Commit) -> None:
        self.state.apply(commit)
        for follower in self._followers:
            follower(commit)


def _nothing(_transaction: Transaction) -> None:
    """A work that changes nothing: works see the newest state."""
