"""The nemesis: does one bad thing after another to the servers and their database, decided by a seed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

from tests.cluster.place import Server
from tests.cluster.world import World, now

import postgres

Say = Callable[[str], None]
Fault = Callable[[Server, float], Awaitable[None]]


class Nemesis:
    """At most all servers but one are ill at a time; ``database`` is how often it goes too. ``say`` gets all lines."""

    def __init__(self, world: World, cluster: postgres.Cluster, say: Say, database: float) -> None:
        self._world, self._cluster, self._say = world, cluster, say
        self._ill: set[Server] = set()
        self._database = database
        self.done: dict[str, int] = {}

    async def run(self, until: float) -> None:
        """Go on until then, and leave everything well."""
        tasks: set[asyncio.Task[None]] = set()
        choose = self._world.random
        while now() < until:
            well = [each for each in self._world.servers if each not in self._ill]
            if len(well) > 1:
                tasks.add(asyncio.create_task(self._hurt(choose.choice(well))))
            if choose.random() < self._database:
                await asyncio.gather(*tasks)
                await self._database_goes()
            await asyncio.sleep(choose.uniform(1, 8))
        await asyncio.gather(*tasks)

    async def _hurt(self, server: Server) -> None:
        self._ill.add(server)
        choose = self._world.random
        fault = choose.choice(self._faults())
        seconds = choose.choice((0.3, 3.0, 12.0, 20.0)) * choose.uniform(0.5, 1.2)
        await self._noted(fault, server, seconds)
        self._ill.discard(server)

    async def _noted(self, fault: Fault, server: Server, seconds: float) -> None:
        name = fault.__name__.strip("_").replace("_", " ")
        self.done[name] = self.done.get(name, 0) + 1
        self._say(f"{server.folder.name}: {name} for {seconds:.1f} s")
        await fault(server, seconds)
        self._say(f"{server.folder.name}: well again")

    def _faults(self) -> list[Fault]:
        ways = [self._cut_off, self._stalled, self._slowed, self._answer_lost]
        return [self._killed, self._killed, self._stopped, self._ended, *ways]

    async def _killed(self, server: Server, seconds: float) -> None:
        await server.end(signal.SIGKILL)
        await asyncio.sleep(seconds / 4)
        await self._start(server)

    async def _ended(self, server: Server, seconds: float) -> None:
        code = await server.end(signal.SIGTERM)
        if code:
            self._world.history.violated("a server ends in good order", f"exit code {code}: {server.log[-500:]}")
        await asyncio.sleep(seconds / 4)
        await self._start(server)

    async def _stopped(self, server: Server, seconds: float) -> None:
        server.send(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        server.send(signal.SIGCONT)

    async def _cut_off(self, server: Server, seconds: float) -> None:
        server.proxy.cut()
        await asyncio.sleep(seconds)
        server.proxy.heal()

    async def _stalled(self, server: Server, seconds: float) -> None:
        server.proxy.pause()
        await asyncio.sleep(seconds)
        server.proxy.resume()

    async def _slowed(self, server: Server, seconds: float) -> None:
        server.proxy.slow(self._world.random.choice((0.02, 0.2)))
        await asyncio.sleep(seconds)
        server.proxy.slow(0)

    async def _answer_lost(self, server: Server, seconds: float) -> None:
        for _ in range(max(1, round(seconds))):
            server.proxy.lose_answer_to(b"COMMIT")
            await asyncio.to_thread(server.proxy.lost.wait, 2.0)

    async def _database_goes(self) -> None:
        began = now()
        hard = self._world.random.random() < 0.5
        self._say(f"the database is {'killed' if hard else 'ended'} and started again")
        await asyncio.to_thread(self._cluster.kill if hard else self._cluster.stop)
        await asyncio.sleep(self._world.random.choice((0.0, 4.0, 15.0)))
        await asyncio.to_thread(self._cluster.start)
        self._world.history.outages.append((began, now() + 15))
        self.done["database restarted"] = self.done.get("database restarted", 0) + 1

    async def _start(self, server: Server) -> None:
        if not await server.start():
            self._world.history.violated("a server starts again", server.log[-1000:])
