"""Machines of the mesh, with nothing between them and the servers but the protocol: they hold what they are told."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

from ghostwire.errors import GhostwireError
from ghostwire.keys import DiscoKey, MachineKey, NodeKey, PrivateKey
from ghostwire.model import Endpoint, MapChange, NetworkMap
from ghostwire.uplink.channel import Channel, connect
from ghostwire.wire import messages
from ghostwire.wire.messages import Credentials, Hello, Host, Lacking, Refresh, Refused, Report, Welcome

if TYPE_CHECKING:
    from tests.cluster.world import World

PAUSE = (0.2, 1.5)
"""Seconds between two attempts, evenly distributed."""
REPORT = 10.0
"""Seconds between two reports."""
ANSWER = 10.0
"""Seconds that a server may take to answer hello."""
LATE = 60.0
"""Seconds within which a member without a session has another, while there is a server to be at."""


class Member:
    """A machine; ``tag`` is what its key makes it, ``core`` says that nobody removes it or makes it invisible.

    ``rival``: another machine came with the same one-use key, so that it may be refused.
    """

    def __init__(self, world: World, number: int, tag: str, secret: str, *, core: bool = False) -> None:
        self.number, self.tag, self.core, self._secret = number, tag, core, secret
        self.rival = False
        self.machine, self._node = PrivateKey.generate(), PrivateKey.generate()
        self.machine_key, self.node_key = self.machine.public(MachineKey), self._node.public(NodeKey)
        self.disco_key = DiscoKey(os.urandom(32))
        self.routes: tuple[str, ...] = ()
        self.id = 0
        self.map = NetworkMap()
        self.ended = self.refused = False
        self.leaving = False
        """Somebody asked for its removal."""
        self.mapped = asyncio.Event()
        """Set while it has a session and has been told its map on it."""
        self._world, self._sequence = world, 0
        self._away = time.monotonic()
        self._held: set[int] = set()
        self._fresh: asyncio.Future[NetworkMap] | None = None
        self._channel: Channel | None = None
        self._enrolment = world.history.begin("enrol", None, self.machine_key)
        self._enrolment.times = 0

    async def run(self) -> None:
        """Be in the mesh until removed or cancelled."""
        while not self.ended:
            try:
                await self._session()
            except (GhostwireError, OSError, TimeoutError):
                self._world.history.counts["sessions lost"] += 1
            await asyncio.sleep(self._world.random.uniform(*PAUSE))

    async def refreshed(self) -> NetworkMap:
        """Its map, whole, as a server tells it now; TimeoutError, ConnectionError."""
        if self._channel is None:
            raise ConnectionError("no session")
        self._fresh = asyncio.get_running_loop().create_future()
        self._channel.send(Refresh())
        return await asyncio.wait_for(self._fresh, ANSWER)

    def overdue(self) -> None:
        """At the end: it counts how long it has been without a session."""
        if not self.mapped.is_set() and not self.ended:
            self._world.history.waited(self._away, time.monotonic(), LATE)

    async def _session(self) -> None:
        world = self._world
        channel = await connect(world.url, self.machine, world.control_key, world.sockets, os.urandom)
        reporting: asyncio.Task[None] | None = None
        try:
            self._enrolment.times += not self.id
            channel.send(self._hello(channel))
            answer = await asyncio.wait_for(channel.receive(), ANSWER)
            if isinstance(answer, Refused):
                return self._denied(answer)
            self._welcomed(answer)
            self._channel = channel
            reporting = asyncio.create_task(self._report(channel))
            while not isinstance(message := await channel.receive(), Refused):
                if isinstance(message, MapChange):
                    self._take(message)
            self._denied(message)
        finally:
            self._channel = None
            if reporting is not None:
                reporting.cancel()
            if self.mapped.is_set():
                self.mapped.clear()
                self._away = time.monotonic()
            await channel.close()

    def _hello(self, channel: Channel) -> Hello:
        return Hello(
            protocol=messages.PROTOCOL,
            node_key=self.node_key,
            disco_key=self.disco_key,
            proof=channel.prove(self._node),
            host=Host(hostname=f"machine-{self.number}", os="linux", version="1"),
            cursor=self.map.cursor,
            credentials=None if self.id else Credentials("auth_key", self._secret),
        )

    def _welcomed(self, answer: Welcome) -> None:
        history, node = self._world.history, answer.node
        if not self.id:
            self.id = node.id
            self._enrolment.ok(node.id)
        if node.id != self.id:
            history.violated("a machine is one node", f"machine {self.number}: {self.id} and {node.id}")
        for what, value in (
            ("id", node.id),
            ("stable id", node.stable_id),
            *(("address", a) for a in node.addresses),
        ):
            history.holds(f"told {what}", value, self.number)

    def _denied(self, answer: Refused) -> None:
        history = self._world.history
        history.counts[f"refused: {answer.code}"] += 1
        if answer.code in messages.PASSING:
            return
        self.ended = self.refused = True
        if self._enrolment.outcome == "unknown":
            self._enrolment.failed(answer.message)
        if answer.code == messages.REMOVED or (answer.code == messages.LOGIN_REQUIRED and self.leaving):
            if not self.leaving:
                history.violated("nobody is removed unasked", f"machine {self.number}: {answer.message}")
        elif not (self.rival or self.leaving):
            history.violated("no login fails", f"machine {self.number}: {answer.code}: {answer.message}")

    def _take(self, change: MapChange) -> None:
        fresh = self._fresh
        if change.full and fresh is not None and not fresh.done():
            whole = NetworkMap()
            whole.apply(change)
            fresh.set_result(whole)
            return
        self._check(change)
        self.map.apply(change)
        if self.map.lacking and self._channel is not None:
            self._channel.send(Lacking(nodes=tuple(sorted(self.map.lacking))))
        self._check_held()
        if not self.mapped.is_set():
            self.mapped.set()
            self._world.history.waited(self._away, time.monotonic(), LATE)

    def _check(self, change: MapChange) -> None:
        history, cursor = self._world.history, change.cursor
        history.told(cursor.revision, cursor.mark)
        if self.map.cursor is not None and cursor.revision < self.map.cursor.revision:
            back = f"machine {self.number}: {self.map.cursor.revision} -> {cursor.revision}"
            history.violated("no map goes back in revision", back)
        if change.full and self.map.cursor is not None:
            history.violated("who comes back is told what it missed alone", f"machine {self.number}: a whole map")
        history.counts["whole maps" if change.full else "changes"] += 1

    def _check_held(self) -> None:
        """It sees itself, and whom it always may see once it has."""
        nodes, history = self.map.nodes, self._world.history
        if self.id not in nodes:
            history.violated("no map empties", f"machine {self.number}: not in its own map of {len(nodes)}")
        if self.core:
            fellows = {each.id for each in self._world.core(self.tag)}
            if missing := self._held - nodes.keys():
                history.violated("no map empties", f"machine {self.number}: {missing} are gone from it")
            self._held = fellows & nodes.keys()

    async def _report(self, channel: Channel) -> None:
        while True:
            self._sequence += 1
            place = Endpoint("udp", f"198.51.100.{self.number % 250}:{41641 + self._sequence % 20}")
            channel.send(Report(session=1, sequence=self._sequence, endpoints=(place,), routes=self.routes))
            await asyncio.sleep(REPORT)
