"""A supervised relay transport: told again what the one before was told, and asked only while it can answer."""

import asyncio
import logging
import threading
from typing import Any

import pytest

from ghostwire import Metrics, Transport, relay_endpoint
from ghostwire.keys import NodeKey
from ghostwire.node.transports.keeper import Keeper, Origin
from ghostwire.node.transports.supervised import Supervised, SupervisedRelay, supervise
from ghostwire.testing import running_clock, simulated

PEER = NodeKey(bytes([2] * 32))
RELAYS: Any = ("one relay",)


def boom(*args: object) -> Any:
    raise RuntimeError("boom")


async def hang(*args: object) -> None:
    await asyncio.Event().wait()


@simulated
async def test_the_kind_is_that_of_what_the_provider_makes(bench: Any, relay_bench: Any) -> None:
    for kind, made in ((bench().kind, Supervised), (relay_bench().kind, SupervisedRelay)):
        assert type(supervise(keeper(lambda kind=kind: kind()))) is made


@simulated
async def test_a_provider_that_changes_the_kind_is_refused_until_it_is_what_it_was(
    bench: Any, relay_bench: Any
) -> None:
    kinds = [relay_bench().kind, bench().kind, relay_bench().kind]
    it = supervise(keeper(lambda: kinds.pop(0)()))
    await it.start(lambda source, datagrams: None)
    running: Any = it.keeper.transport
    it.keeper._life.failed("over")
    await asyncio.sleep(1.5)
    assert "is of another kind than it was at the start" in it.keeper.status().trouble
    await asyncio.sleep(3)
    assert isinstance(it.keeper.transport, type(running))
    assert it.keeper.status().state == "running"
    await it.close()


def keeper(make: Any) -> Keeper:
    log = logging.getLogger("ghostwire.node.faults")
    made: Any = lambda metrics, failed: make()  # noqa: E731
    return Keeper(Origin("wild"), made, Metrics(), running_clock(), log)


@simulated
async def test_every_one_that_is_started_is_told_what_was_said_before(relay_bench: Any) -> None:
    it, lost = relay_bench(), []
    it.supervised.use((), None, None)
    it.supervised.watch(lost.append)
    assert it.wild.heeded == []
    await it.start()
    it.supervised.use(RELAYS, 5, 1)
    it.supervised.links_changed()
    assert it.wild.heeded == [([], None, None), (["one relay"], 5, 1), "links changed"]
    it.wild.lost(5)
    it.wild.failed("over")
    await asyncio.sleep(0.5)
    it.supervised.use(RELAYS, 6, None)
    await asyncio.sleep(1)
    assert len(it.made) == 2
    assert it.wild.heeded == [(["one relay"], 6, None)]
    it.made[0].lost(7)
    it.wild.lost(8)
    assert lost == [5, 8]
    await it.supervised.close()


@simulated
async def test_one_that_nothing_was_said_to_is_told_nothing(relay_bench: Any) -> None:
    it = await relay_bench().start()
    assert it.wild.heeded == []
    await it.supervised.close()


@simulated
async def test_what_it_says_counts_only_while_it_runs_and_makes_sense(relay_bench: Any) -> None:
    it = relay_bench()
    told = it.supervised
    assert (told.connected(5), told.at(5), told.heard(5)) == (False, None, None)
    await it.start()
    assert (told.connected(5), told.at(5), told.heard(5)) == (True, 6, 7)
    it.wild.connected = it.wild.at = it.wild.heard = lambda region: "nonsense"
    assert (told.connected(5), told.at(5), told.heard(5)) == (False, None, None)
    it.wild.failed("over")
    await asyncio.sleep(0.5)
    assert (told.connected(5), told.at(5), told.heard(5)) == (False, None, None)
    await told.close()


@simulated
async def test_a_lost_connection_may_be_told_from_another_thread_and_only_as_a_number(relay_bench: Any) -> None:
    it, lost = relay_bench(), []
    it.supervised.watch(lost.append)
    await it.start()
    # a simulated loop refuses what asyncio's takes from other threads
    asyncio.get_running_loop().call_soon_threadsafe = asyncio.get_running_loop().call_soon  # type: ignore[method-assign]
    for region in (5, "home"):
        thread = threading.Thread(target=it.wild.lost, args=(region,))
        thread.start()
        thread.join()
    assert lost == []
    await asyncio.sleep(0)
    assert lost == [5]
    await it.supervised.close()


@pytest.mark.parametrize("method", ["use", "watch", "links_changed", "connected", "at", "heard"])
@simulated
async def test_whatever_it_raises_is_counted_and_too_often_it_is_started_again(relay_bench: Any, method: str) -> None:
    it = await relay_bench().start()
    setattr(it.wild, method, boom)
    asked = {
        "use": lambda: it.supervised.use(RELAYS, 5, None),
        "watch": lambda: it.supervised.watch(lambda region: None),
        "links_changed": it.supervised.links_changed,
    }
    for number in range(40):
        asked.get(method, lambda: getattr(it.supervised, method)(5))()
        assert it.count("raised") == number + 1
    await asyncio.sleep(0.1)
    assert it.state == "restarting"
    assert f"raised too often, last in {method}: RuntimeError: boom" in it.trouble
    await asyncio.sleep(2)
    assert it.state == "running"
    await it.supervised.close()


@simulated
async def test_one_that_raises_when_it_is_told_at_its_start_runs_all_the_same(relay_bench: Any) -> None:
    it = relay_bench()
    it.wild.use = it.wild.watch = boom
    it.supervised.use(RELAYS, 5, None)
    await it.start()
    assert (it.state, it.count("raised")) == ("running", 2)
    await it.supervised.close()


@simulated
async def test_a_start_that_hangs_is_ended_and_the_next_one_is_told(relay_bench: Any) -> None:
    it = relay_bench()
    it.wild.start = hang
    with pytest.raises(Exception, match="start did not return within 10 s"):
        await it.start()
    it.supervised.use(RELAYS, 5, None)
    await asyncio.sleep(2)
    assert (it.state, it.wild.heeded) == ("running", [(["one relay"], 5, None)])
    await it.supervised.close()


@simulated
async def test_paths_to_a_peer_are_equal_wherever_it_is_and_lead_over_relays(relay_bench: Any) -> None:
    it = await relay_bench().start()
    home, away = (it.supervised.path(relay_endpoint(region, PEER)) for region in (5, 6))
    assert (home, hash(home), home.relayed) == (away, hash(away), True)
    assert home is not away
    assert home != it.supervised.path(relay_endpoint(5, NodeKey(bytes([3] * 32))))
    it.wild.receive(it.wild.path(relay_endpoint(7, PEER)), [b"x"])
    assert it.got[0][0] == home
    assert it.got[0][0].endpoint.startswith("7/")
    assert away.send([b"y"])
    assert it.wild.sent == [(away.endpoint, [b"y"])]
    await it.supervised.close()


@simulated
async def test_direct_paths_are_other_than_relayed_ones(bench: Any, relay_bench: Any) -> None:
    direct, relayed = await bench().start(), await relay_bench().start()
    transports: list[Transport] = [direct.supervised, relayed.supervised]
    one, other = (each.path("a/b") for each in transports)
    assert (one.relayed, other.relayed) == (False, True)
    assert one != other
    assert one != direct.supervised.path("c/b")
    await direct.supervised.close()
    await relayed.supervised.close()
