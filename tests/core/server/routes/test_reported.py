"""From nodes' reports to records: bounded, so often, and judged anew when that may matter."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from typing import Any

from ghostwire.capabilities.storage import Transaction
from ghostwire.errors import StateError
from ghostwire.model import Node, Record, Relay, Route, User
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.routes import reported as module
from ghostwire.server.routes.administration import RouteAdministration
from ghostwire.server.routes.reported import EVERY, Reported
from ghostwire.server.routes.rules import Rules
from ghostwire.testing import MemoryStorage, running_clock, simulated
from ghostwire.testing.contracts.samples import node, user
from ghostwire.wire.messages import MAX_ROUTES, Report
from ghostwire.wire.prefixes import parse_prefix

MESH = (parse_prefix("100.64.0.0/16"),)
RELAY = Relay(id=1, name="north-1", region=900, region_name="north", host="203.0.113.7")


class Desk:
    """What stands behind nodes' sessions, with nodes 1 to 3 of users 1 and 2."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.downs: list[tuple[int, frozenset[str]]] = []
        self.writes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._sequence = 0

    async def open(self) -> None:
        self.mesh = LiveMesh(running_clock())
        await self.mesh.open(self.storage)
        if not self.mesh.list(Node):
            await self.put(user(1), user(2), *(node(number, 1 + number // 3) for number in (1, 2, 3)))
        log = logging.getLogger("ghostwire.server")
        rules = partial(Rules, MESH, "")
        self.reported = Reported(self.mesh, rules, self._spawn, running_clock(), log, longest=False)
        self.reported.down = lambda number, prefixes: self.downs.append((number, prefixes))
        self.administration = RouteAdministration(self.mesh, self.reported, self._node)
        self.mesh.follow(self.reported.committed)
        self.mesh.follow(lambda commit: setattr(self, "writes", self.writes + 1))

    async def close(self) -> None:
        self.reported.close()
        await asyncio.gather(*self._tasks)
        await self.mesh.close()

    def report(self, number: int, *routes: str, down: Iterable[str] = ()) -> None:
        self._sequence += 1
        self.reported.take(number, Report(session=1, sequence=self._sequence, routes=routes, down=tuple(down)))

    async def settle(self, seconds: float = 0.1) -> None:
        await asyncio.sleep(seconds)

    async def put(self, *records: Record) -> None:
        await self.mesh.write(lambda transaction: [transaction.put(each) for each in records])

    async def remove(self, number: int) -> None:
        def work(transaction: Transaction) -> None:
            for route in transaction.find(Route, node=number):
                transaction.delete(Route, route.id)
            transaction.delete(Node, number)

        await self.mesh.write(work)

    def shown(self, number: int) -> dict[str, str]:
        """Prefixes of what is advertised, with who approved it."""
        held = self.mesh.state.routes_of(number)
        return {each.prefix: each.approved_by for each in held if each.advertised}

    def _node(self, text: str) -> Node:
        found = self.mesh.state.get(Node, int(text))
        assert found is not None
        return found

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@contextlib.asynccontextmanager
async def opened(desk: Desk | None = None) -> AsyncIterator[Desk]:
    desk = desk or Desk()
    await desk.open()
    try:
        yield desk
    finally:
        await desk.close()


@simulated
async def test_what_a_node_reports_becomes_its_routes():
    async with opened() as desk:
        desk.report(1, "10.1.0.0/16", "0.0.0.0/0", "::/0", "10.1.0.0/16")
        await desk.settle()
        assert desk.shown(1) == {"10.1.0.0/16": "", "0.0.0.0/0": "", "::/0": ""}
        desk.report(1)
        await desk.settle()
        assert desk.shown(1) == {}


@simulated
async def test_a_report_that_says_nothing_new_writes_nothing():
    async with opened() as desk:
        desk.report(2)
        desk.report(1, "10.1.0.0/16")
        await desk.settle()
        desk.report(1, "10.1.0.0/16")
        desk.report(1, "10.1.0.0/16", down=["10.1.0.0/16"])
        await desk.settle()
        assert desk.writes == 1


@simulated
async def test_after_a_restart_the_same_report_writes_nothing():
    async with opened() as desk:
        desk.report(1, "10.1.0.0/16")
        await desk.settle()
    async with opened(desk):
        desk.writes = 0
        desk.report(1, "10.1.0.0/16")
        desk.report(2)
        await desk.settle()
        assert desk.writes == 0
        desk.report(1)
        await desk.settle()
        assert desk.shown(1) == {}


@simulated
async def test_what_is_refused_is_said_once_and_kept_for_administrators(caplog):
    async with opened() as desk:
        desk.report(1, "10.1.2.3/16", "100.64.0.0/16", "10.1.0.0/16", "\x1b[2Jnonsense", "::/0")
        desk.report(1, "10.1.2.3/16", "100.64.0.0/16", "10.1.0.0/16", "\x1b[2Jnonsense", "::/0")
        await desk.settle()
        assert desk.shown(1) == {"10.1.0.0/16": ""}
        refused = {text: reason for number, text, reason in desk.reported.refused() if number == 1}
        assert "10.1.0.0/16 is the prefix that it lies in" in refused["10.1.2.3/16"]
        assert "belongs to the mesh" in refused["100.64.0.0/16"]
        assert "both 0.0.0.0/0 and ::/0" in refused["::/0"]
        assert "\\x1b[2Jnonsense" in refused
        assert all(text.isprintable() and reason.isprintable() for text, reason in refused.items())
        said = [record.getMessage() for record in caplog.records if "refused a route" in record.getMessage()]
        assert said == [f"refused a route: node 1 offers 10.1.2.3/16: {refused['10.1.2.3/16']}"]


@simulated
async def test_a_node_has_no_more_routes_than_it_may():
    async with opened() as desk:
        desk.report(1, *(f"10.{number // 256}.{number % 256}.0/24" for number in range(MAX_ROUTES + 50)))
        await desk.settle()
        assert len(desk.shown(1)) == MAX_ROUTES
        assert [text for _, text, _ in desk.reported.refused()] == ["10.1.0.0/24"]


@simulated
async def test_a_node_that_changes_its_mind_all_the_time_is_heard_so_often_and_its_last_word_counts():
    async with opened() as desk:
        for number in range(1000):
            desk.report(1, f"10.{number % 250}.0.0/16", down=[f"10.{number % 250}.0.0/16"])
            await desk.settle(0.01)
        assert desk.writes <= module.CHANGES + 10 / EVERY
        desk.report(1, "11.0.0.0/8")
        await desk.settle(EVERY * 2)
        assert desk.shown(1) == {"11.0.0.0/8": ""}
        assert len(desk.downs) <= desk.writes
        assert desk.downs[-1] == (1, frozenset())


@simulated
async def test_many_nodes_share_a_transaction():
    async with opened() as desk:
        for number in (1, 2, 3):
            desk.report(number, f"10.{number}.0.0/16")
        await desk.settle()
        assert desk.writes == 1


@simulated
async def test_what_a_router_cannot_reach_is_told_at_once_and_only_when_it_changes():
    async with opened() as desk:
        desk.report(1, "10.1.0.0/16", "10.2.0.0/16", down=["10.2.0.0/16", "10.9.0.0/16", "x"])
        assert desk.downs == [(1, frozenset({"10.2.0.0/16"}))]
        assert desk.reported.down_of(1) == {"10.2.0.0/16"}
        desk.report(1, "10.1.0.0/16", "10.2.0.0/16", down=["10.2.0.0/16"])
        desk.report(1, "10.1.0.0/16", "10.2.0.0/16")
        assert desk.downs[1:] == [(1, frozenset())]


# The policy


@simulated
async def test_a_policy_approves_and_takes_back_as_soon_as_it_changes(grants):
    async with opened() as desk:
        desk.report(1, "10.1.0.0/16")
        desk.report(3, "10.3.0.0/16")
        await desk.settle()
        desk.reported.policy_changed(grants({"user1": ["10.0.0.0/8"]}))
        await desk.settle()
        assert (desk.shown(1), desk.shown(3)) == ({"10.1.0.0/16": "auto"}, {"10.3.0.0/16": ""})
        desk.reported.policy_changed(grants({"user2": ["10.0.0.0/8"]}))
        await desk.settle()
        assert (desk.shown(1), desk.shown(3)) == ({"10.1.0.0/16": ""}, {"10.3.0.0/16": "auto"})


@simulated
async def test_a_node_that_becomes_anothers_loses_what_only_he_may_have(grants):
    async with opened() as desk:
        desk.reported.policy_changed(grants({"user1": ["10.0.0.0/8"], "boss": ["10.3.0.0/16"]}))
        desk.report(1, "10.1.0.0/16")
        desk.report(3, "10.3.0.0/16")
        await desk.settle()
        assert (desk.shown(1), desk.shown(3)) == ({"10.1.0.0/16": "auto"}, {"10.3.0.0/16": ""})
        await desk.put(node(1, 2))
        await desk.put(User(**{**_fields(user(2)), "name": "boss"}))
        await desk.settle()
        assert (desk.shown(1), desk.shown(3)) == ({"10.1.0.0/16": ""}, {"10.3.0.0/16": "auto"})


@simulated
async def test_a_route_that_waited_for_anothers_place_gets_it_when_that_goes(grants):
    for leave in (_withdraws, _is_removed, _is_rejected):
        async with opened() as desk:
            desk.reported.policy_changed(grants({"user1": ["10.0.0.0/8"]}))
            desk.report(1, "10.0.0.0/8")
            await desk.settle()
            desk.report(2, "10.1.0.0/16")
            await desk.settle()
            assert desk.shown(2) == {"10.1.0.0/16": ""}
            await leave(desk)
            await desk.settle()
            assert desk.shown(2) == {"10.1.0.0/16": "auto"}, leave.__name__


async def _withdraws(desk: Desk) -> None:
    desk.report(1)


async def _is_removed(desk: Desk) -> None:
    await desk.remove(1)


async def _is_rejected(desk: Desk) -> None:
    await desk.administration.reject("1", ["10.0.0.0/8"], "root")


@simulated
async def test_a_relay_that_appears_within_a_route_puts_it_out_of_use_and_its_going_brings_it_back():
    async with opened() as desk:
        desk.report(1, "203.0.113.0/24", "10.1.0.0/16")
        await desk.settle()
        await desk.administration.approve("1", ["203.0.113.0/24"], "root")
        await desk.put(RELAY)
        await desk.settle()
        assert desk.shown(1) == {"10.1.0.0/16": ""}
        assert [(text, "relay north-1" in reason) for _, text, reason in desk.reported.refused()] == [
            ("203.0.113.0/24", True)
        ]
        await desk.mesh.write(lambda transaction: transaction.delete(Relay, 1))
        await desk.settle()
        assert desk.shown(1) == {"203.0.113.0/24": "root", "10.1.0.0/16": ""}


# What goes wrong


@simulated
async def test_a_node_that_is_removed_is_forgotten_with_its_routes():
    async with opened() as desk:
        desk.report(1, "10.1.0.0/16", "100.64.0.0/24", down=["10.1.0.0/16"])
        await desk.settle()
        await desk.remove(1)
        await desk.settle()
        assert desk.mesh.list(Route) == []
        assert list(desk.reported.refused()) == []
        assert desk.reported.down_of(1) == ()


@simulated
async def test_what_could_not_be_stored_is_stored_later(monkeypatch, caplog):
    async with opened() as desk:
        write = desk.mesh.write

        async def fails(work: Callable[[Transaction], Any]) -> Any:
            raise StateError("the disk is full")

        monkeypatch.setattr(desk.mesh, "write", fails)
        desk.report(1, "10.1.0.0/16")
        await desk.settle()
        monkeypatch.setattr(desk.mesh, "write", write)
        await desk.settle(module.RETRY + 1)
        assert desk.shown(1) == {"10.1.0.0/16": ""}
        assert "routes of 1 nodes could not be stored: the disk is full" in caplog.text


@simulated
async def test_what_is_forgotten_begins_anew_while_it_is_still_advertised(grants):
    async with opened() as desk:
        desk.reported.policy_changed(grants({"user1": ["10.0.0.0/8"]}))
        desk.report(1, "10.1.0.0/16")
        await desk.settle()
        await desk.administration.reject("1", ["10.1.0.0/16"], "root")
        await desk.administration.delete("1", ["10.1.0.0/16"])
        await desk.settle()
        assert desk.shown(1) == {"10.1.0.0/16": "auto"}


def _fields(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}
