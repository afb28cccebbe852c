"""Everybody of the mesh under test: members that stay, machines that come and go, an administrator."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from tests.cluster import place
from tests.cluster.administrator import TAGS, Administrator, policy
from tests.cluster.balancer import Balancer
from tests.cluster.history import History
from tests.cluster.log import Log
from tests.cluster.members import Member
from tests.cluster.place import Server

import postgres
from ghostwire.keys import ControlKey
from ghostwire.system.sockets import SystemSockets
from ghostwire.wire.jointoken import JoinToken

GUESTS = 15
"""Machines beside the core that are in the mesh at a time, about."""
RIVALS = 0.3
"""How often two machines come with one one-use key."""
ROUTER = 4
"""One in so many machines offers a route."""
WATCH = 0.5
"""Seconds between two looks at the log."""


@dataclass
class World:
    """``control_key`` is the servers', ``url`` the balancer's."""

    random: random.Random
    history: History
    url: str
    control_key: ControlKey
    servers: list[Server]
    log: Log
    administrator: Administrator
    secrets: dict[str, str]

    def __post_init__(self) -> None:
        self.sockets, self.members = SystemSockets(), list[Member]()
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None]] = set()

    def core(self, tag: str) -> list[Member]:
        """Those of a tag that stay."""
        return [each for each in self.members if each.core and each.tag == tag]

    def somebody(self, *, core: bool | None = None) -> Member | None:
        """A member that is in the mesh as far as we know."""
        known = [each for each in self.members if each.id and not each.ended and core in (None, each.core)]
        return self.random.choice(known) if known else None

    def join(self, tag: str, secret: str = "", *, core: bool = False, rival: bool = False) -> Member:
        """A new machine, on its way in."""
        number = len(self.members)
        member = Member(self, number, tag, secret or self.secrets[tag], core=core)
        member.rival = rival
        if number % ROUTER == 0:
            member.routes = (f"10.{number // 250 % 250}.{number % 250}.0/24",)
        self.members.append(member)
        self._keep(member.run(), self._tasks)
        return member

    def begin(self) -> None:
        """Let people come and administer; until `rest`."""
        for work in (self._come(), self.administrator.run(), self.administrator.run(), self._watch()):
            self._keep(work, self._busy)

    async def rest(self) -> None:
        """Nobody comes or changes anything any more."""
        await _cancel(self._busy)

    async def close(self) -> None:
        """Everybody goes."""
        await _cancel(self._busy | self._tasks)

    async def all_in(self, patience: float) -> bool:
        """Whether everybody who is to be in the mesh has a session, and has within this time."""
        until = now() + patience
        while missing := self.missing():
            if now() > until:
                return False
            await asyncio.wait([asyncio.create_task(missing[0].mapped.wait())], timeout=0.2)
        return True

    def missing(self) -> list[Member]:
        """Those who are to be in the mesh and have no session."""
        return [each for each in self.members if not (each.mapped.is_set() or each.ended or each.leaving)]

    async def _come(self) -> None:
        while True:
            await asyncio.sleep(self.random.uniform(0.2, 1.5))
            if sum(not (each.core or each.ended) for each in self.members) < GUESTS:
                await self._arrive(self.random.choice(TAGS))

    async def _arrive(self, tag: str) -> None:
        if self.random.random() > RIVALS:
            self.join(tag)
            return
        made = await self.administrator.new_key(reusable=False, tag=tag)
        if made is not None:
            secret = JoinToken.parse(made["token"]).secret
            for _ in range(2):
                self.join(tag, secret, rival=True)

    async def _watch(self) -> None:
        while True:
            with suppress(psycopg.OperationalError):
                await asyncio.to_thread(self.log.read)
            await asyncio.sleep(WATCH)

    def _keep(self, work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        among.add(task)
        task.add_done_callback(lambda done: self._ended(done, among))

    def _ended(self, task: asyncio.Task[None], among: set[asyncio.Task[None]]) -> None:
        among.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.history.violated("the test itself works", repr(error))


@asynccontextmanager
async def world(
    folder: Path, cluster: postgres.Cluster, seed: int, *, core: int = 8, environment: dict[str, str] | None = None
) -> AsyncIterator[World]:
    """Three servers behind a balancer, and so many members of each tag connected."""
    database = cluster.database()
    balancer = Balancer([])
    await balancer.start()
    url = f"http://127.0.0.1:{balancer.port}"
    with place.servers(folder, cluster, database, url, environment) as servers:
        await place.start(servers)
        balancer.backends += [server.port for server in servers]
        made = await _composed(servers, url, balancer.port, database, random.Random(seed))
        for number in range(core * len(TAGS)):
            made.join(TAGS[number % len(TAGS)], core=True)
        try:
            assert await made.all_in(120), f"the members did not come in: {made.history.violations}"
            yield made
        finally:
            await made.close()
            await balancer.close()


async def _composed(servers: list[Server], url: str, port: int, database: str, source: random.Random) -> World:
    first, history, secrets = servers[0], History(), {}
    await first.ask("PUT", "/api/v1/policy?force", {"source": policy(())})
    for tag in TAGS:
        order = {"reusable": True, "tags": [tag], "ttl_seconds": 86400}
        token = JoinToken.parse((await first.ask("POST", "/api/v1/preauthkeys", order))["token"])
        secrets[tag] = token.secret
    opened = await first.ask("POST", "/api/v1/apikeys", {"name": "tester"})
    made = World(source, history, url, token.control_key, servers, Log(database, history), None, secrets)  # type: ignore[arg-type]
    made.administrator = Administrator(made, port, opened["secret"])
    made.administrator.meetings[""] = ()
    await asyncio.to_thread(made.log.read)
    return made


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    found = list(tasks)
    for task in found:
        task.cancel()
    await asyncio.gather(*found, return_exceptions=True)


def now() -> float:
    """Seconds, as the history counts."""
    return time.monotonic()
