"""A map's upkeep: when a node asks for what it lacks and for the whole, and what it makes of the answer."""

import asyncio
import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from ghostwire.engine import SECOND
from ghostwire.model import Cursor, MapChange, MapNode, MapRoute, NetworkMap
from ghostwire.node.upkeep import AGAIN, DAY, SOON, Upkeep
from ghostwire.testing import SeededEntropy, running_clock, simulated
from ghostwire.wire.messages import MAX_LACKING, Lacking, Refresh

CURSOR = Cursor(5, b"m", {"s": 3}, newest=9, view=7)


class Kept:
    """An upkeep, its map of two nodes, and what it sent and when; ``there``: the server hears it."""

    def __init__(self, kit: Any, *, entropy: int = 1, protocol: int = 2) -> None:
        self.map, self.there = NetworkMap(), True
        self.nodes: tuple[MapNode, ...] = (kit.map_node(1), kit.map_node(2))
        self.map.apply(self.whole())
        self.sent: list[tuple[float, Lacking | Refresh]] = []
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        log = logging.getLogger("upkeep")
        self.upkeep = Upkeep(self.map, self.send, running_clock(), SeededEntropy(entropy), log)
        self.upkeep.began(protocol)
        self.upkeep.start()

    def send(self, message: Lacking | Refresh) -> bool:
        self.sent.append((self.loop.time() - self.began, message))
        return self.there

    def whole(self, **fields: Any) -> MapChange:
        return MapChange(**{"cursor": CURSOR, "full": True, "nodes": self.nodes, **fields})

    def of(self, kind: type[Any]) -> Sequence[float]:
        return [when for when, message in self.sent if isinstance(message, kind)]

    async def asked(self) -> None:
        """Wait until it has asked for the whole map."""
        before = len(self.of(Refresh))
        while len(self.of(Refresh)) == before:
            await asyncio.sleep(60)


@simulated
async def test_nodes_ask_for_all_once_in_about_a_day_and_not_together(kit: Any) -> None:
    kept = [Kept(kit, entropy=number) for number in range(20)]
    await asyncio.sleep(8 * DAY)
    for each in kept:
        gaps = [later - sooner for sooner, later in pairwise([0, *each.of(Refresh)])]
        assert all(0.5 * DAY <= gap <= 1.5 * DAY for gap in gaps)
        assert 5 <= len(gaps) <= 16
        each.upkeep.stop()
    assert len({round(each.of(Refresh)[0] / 60) for each in kept}) > 15


@simulated
async def test_where_the_server_is_away_it_is_asked_within_an_hour_of_that(kit: Any) -> None:
    kept = Kept(kit)
    kept.there = False
    await asyncio.sleep(2 * DAY)
    tried = kept.of(Refresh)
    assert all(later - sooner <= SOON for sooner, later in pairwise(tried))
    kept.there = True
    await asyncio.sleep(SOON)
    assert len(kept.of(Refresh)) > len(tried)
    kept.upkeep.stop()


@simulated
async def test_an_older_server_is_asked_for_nothing(kit: Any) -> None:
    kept = Kept(kit, protocol=1)
    await asyncio.sleep(3 * DAY)
    assert not kept.sent
    kept.upkeep.stop()


@simulated
async def test_a_clock_that_jumps_neither_hurries_nor_delays_it(kit: Any) -> None:
    kept = Kept(kit)
    for days in (400, -800):
        before = len(kept.of(Refresh))
        running_clock().jump_wall(int(days * DAY) * SECOND)
        await asyncio.sleep(0.4 * DAY)
        assert len(kept.of(Refresh)) - before <= 1
        await asyncio.sleep(1.2 * DAY)
        assert len(kept.of(Refresh)) > before
    kept.upkeep.stop()


@simulated
async def test_what_is_lacking_is_asked_for_at_once_and_every_minute_until_it_is_there(kit: Any) -> None:
    kept = Kept(kit)
    kept.map.apply(MapChange(cursor=CURSOR, visible=(1, 2, 8, 9)))
    kept.upkeep.followed()
    kept.upkeep.followed()
    await asyncio.sleep(2.5 * AGAIN)
    asked = [message.nodes for _, message in kept.sent if isinstance(message, Lacking)]
    assert (kept.of(Lacking), asked) == ([0, AGAIN, 2 * AGAIN], [(8, 9)] * 3)
    assert kept.upkeep.status.lacks == 2
    kept.map.apply(MapChange(cursor=CURSOR, nodes=(kit.map_node(8), kit.map_node(9))))
    kept.upkeep.followed()
    await asyncio.sleep(5 * AGAIN)
    assert len(kept.sent) == 3
    assert kept.upkeep.status.lacks == 0
    kept.upkeep.stop()


@simulated
async def test_what_a_lost_stream_did_not_answer_is_asked_again_by_the_next(kit: Any) -> None:
    kept = Kept(kit)
    kept.there = False
    kept.map.apply(MapChange(cursor=CURSOR, visible=(1, 2, 8)))
    kept.upkeep.followed()
    kept.upkeep.began(2)
    kept.there = True
    await asyncio.sleep(AGAIN)
    assert len(kept.of(Lacking)) == 2
    kept.upkeep.stop()
    await asyncio.sleep(5 * AGAIN)
    assert len(kept.of(Lacking)) == 2


@simulated
async def test_many_that_are_lacking_are_asked_for_in_several_messages(kit: Any) -> None:
    kept = Kept(kit)
    kept.map.apply(MapChange(cursor=CURSOR, visible=tuple(range(1, 2 * MAX_LACKING + 3))))
    kept.upkeep.followed()
    assert [len(message.nodes) for _, message in kept.sent if isinstance(message, Lacking)] == [MAX_LACKING] * 2
    kept.upkeep.stop()


@simulated
async def test_a_whole_map_that_is_equal_is_counted_and_changes_nothing(kit: Any) -> None:
    kept = Kept(kit)
    await kept.asked()
    assert kept.upkeep.examine(kept.whole()) is None
    status = kept.upkeep.status
    assert (status.comparisons, status.divergences, status.differed) == (1, 0, "")
    assert status.compared == running_clock().wall() // SECOND
    kept.upkeep.stop()


@simulated
async def test_one_that_differs_is_told_counted_and_taken(kit: Any, caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept(kit)
    await kept.asked()
    other = kept.whole(nodes=(kit.map_node(1), kit.map_node(3)))
    assert kept.upkeep.examine(other) == other
    assert (kept.upkeep.status.divergences, kept.upkeep.status.differed) == (1, "nodes 2, 3")
    assert "differed from the server's at revision 5: nodes 2, 3; healed" in caplog.text
    kept.upkeep.stop()


@simulated
async def test_homes_and_routes_that_a_young_server_has_not_heard_of_are_no_difference_and_are_kept(kit: Any) -> None:
    kept = Kept(kit)
    kept.map.nodes[2] = msgspec.structs.replace(kept.map.nodes[2], home=900)
    kept.map.routes[4] = MapRoute(id=4, prefix="10.0.0.0/8", router=2, down=True)
    await kept.asked()
    whole = kept.whole(routes=(MapRoute(id=4, prefix="10.0.0.0/8", router=2),))
    assert kept.upkeep.examine(whole) is None
    await kept.asked()
    healed = kept.upkeep.examine(msgspec.structs.replace(whole, nodes=(*whole.nodes, kit.map_node(3))))
    assert healed is not None
    assert [node.home for node in healed.nodes] == [None, 900, None]
    kept.upkeep.stop()


@simulated
async def test_a_whole_map_that_nobody_asked_for_or_of_another_moment_is_only_taken(kit: Any) -> None:
    kept = Kept(kit)
    unasked = kept.whole(nodes=())
    assert kept.upkeep.examine(unasked) is unasked
    await kept.asked()
    later = kept.whole(cursor=msgspec.structs.replace(CURSOR, revision=6), nodes=())
    assert kept.upkeep.examine(later) is later
    await kept.asked()
    kept.upkeep.began(2)  # the stream was lost before the answer
    assert kept.upkeep.examine(unasked) is unasked
    assert kept.upkeep.status.comparisons == 0
    kept.upkeep.stop()
