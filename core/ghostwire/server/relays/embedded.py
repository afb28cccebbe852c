"""The relay that runs in the server itself: whom it admits, where nodes find it, and with whom it meshes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from ghostwire.capabilities.relaying import Load, Relaying, Siblings
from ghostwire.capabilities.storage import Transaction
from ghostwire.errors import GhostwireError
from ghostwire.keys import NodeKey, PrivateKey, RelayKey
from ghostwire.model import Relay
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.names import unique
from ghostwire.server.relays.records import EMBEDDED, OWN
from ghostwire.server.relays.regions import region_id
from ghostwire.server.relays.relays import Relays
from ghostwire.wire.messages import LOAD_INTERVAL

BUDGET = 64 * 1024
"""Bytes relayed in one pass of the loop, a millisecond where they are the smallest packets: with 20 clients that flood
it, a request waits for 3 to 10 ms, and hardly less is relayed than without."""


class Place(msgspec.Struct, frozen=True):
    """Where nodes find the server; ``certificate`` as in `Relay`."""

    host: str
    port: int
    tls: bool
    certificate: str
    region: str


class Embedded(Relaying):
    """Admits the mesh's nodes, and keeps its own record. `open` once the mesh is, `publish` once plugins have started.

    What a plugin announces before that is in the record from the first.
    """

    budget = BUDGET

    def __init__(self, mesh: LiveMesh, log: logging.Logger) -> None:
        self._mesh, self._log = mesh, log
        self._relays: Relays
        self._place: Place | None = None
        self._record: Relay | None = None
        self._stun_port = 0
        self._mesh_key = b""
        self._siblings = Siblings()
        self._changed: list[Callable[[], None]] = []
        self._load: Callable[[], Load] = lambda: Load(0, 0)
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, private_key: PrivateKey, relays: Relays) -> None:
        """The mesh is open: relay under this key."""
        self.private_key, self._relays = private_key, relays
        relays.on_siblings(self._meet)
        relays.on_rekeyed(self._rekeyed)

    async def publish(self, place: Place | None) -> None:
        """Tell nodes of the relay at this place, or with None that there is none here."""
        self._place = place
        self._record, self._mesh_key = await self._mesh.write(self._write)
        self._relays.host(self._record.id if self._record is not None else None)
        self._meet()
        self._measure()

    async def close(self) -> None:
        """Finish what was begun."""
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What plugins ask and tell

    def admits(self, key: NodeKey) -> bool:
        """Whether this node belongs to the mesh, and its key has not expired."""
        return self._mesh.admits(key)

    def on_removed(self, removed: Callable[[Sequence[NodeKey]], None]) -> None:
        """Call this with keys that are admitted no longer."""
        self._relays.admitted.on_removed(removed)

    @property
    def siblings(self) -> Siblings:
        """Whom to mesh with."""
        return self._siblings

    def on_siblings(self, changed: Callable[[], None]) -> None:
        """Call this whenever `siblings` has changed."""
        self._changed.append(changed)

    def announce(self, *, stun_port: int) -> None:
        """STUN is served on this UDP port."""
        if stun_port != self._stun_port:
            self._stun_port = stun_port
            self._again()

    def measure(self, load: Callable[[], Load]) -> None:
        """Ask this for the load."""
        self._load = load

    # Within

    def _write(self, transaction: Transaction) -> tuple[Relay | None, bytes]:
        """Bring the record to what is so; it, and its region's key."""
        held = self._held(transaction)
        if self._place is None:
            if held is not None:
                transaction.delete(Relay, held.id)
            return None, b""
        relay = self._current(transaction, self._place, held)
        if relay != held:
            transaction.put(relay)
        return relay, self._relays.mesh_keys.of(transaction, relay.region)

    def _held(self, transaction: Transaction) -> Relay | None:
        """This server's record; where there may be others, it is the one with its key."""
        own = {"key": self.private_key.public(RelayKey)} if self._relays.shared else {}
        return next(iter(transaction.find(Relay, source=EMBEDDED, **own)), None)

    def _current(self, transaction: Transaction, place: Place, held: Relay | None) -> Relay:
        others = [relay for relay in transaction.find(Relay) if relay.source != EMBEDDED]
        fields = msgspec.structs.asdict(place)
        name = fields.pop("region")
        own = held.region if held is not None else None
        fields |= {"region": region_id(others, name, own=own), "region_name": name}
        fields |= {"stun_port": self._stun_port, "key": self.private_key.public(RelayKey)}
        if held is not None:
            return msgspec.structs.replace(held, **fields)
        id_, now = transaction.new_id(Relay), self._mesh.now()
        name = unique(OWN, lambda taken: bool(transaction.find(Relay, name=taken)))
        return Relay(id=id_, name=name, source=EMBEDDED, created=now, **fields)

    def _meet(self) -> None:
        if self._record is not None and self._mesh.state.get(Relay, self._record.id) is None:
            self._again()  # an administrator took it out while this server was out of reach
            return
        relays = self._relays.siblings(self._record) if self._record is not None else ()
        siblings = Siblings(relays, self._mesh_key)
        if siblings != self._siblings:
            self._siblings = siblings
            for changed in self._changed:
                changed()

    def _rekeyed(self, region: int) -> None:
        if self._record is not None and self._record.region == region:
            self._again()

    def _again(self) -> None:
        """Publish anew where that was done before."""
        if self._place is not None:
            task = asyncio.get_running_loop().create_task(self._publish_anew(self._place))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _publish_anew(self, place: Place) -> None:
        try:
            await self.publish(place)
        except GhostwireError as error:
            self._log.error("the server's own relay cannot be announced: %s", error)

    def _measure(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._record is not None:
            self._relays.carries(self._load().clients)
            self._timer = asyncio.get_running_loop().call_later(LOAD_INTERVAL, self._measure)
