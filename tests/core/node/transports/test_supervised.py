"""A supervised transport keeps what is wrong in it from everyone else."""

import asyncio
import gc
import logging
import threading
from collections.abc import Callable
from json import loads as decode
from typing import Any

import pytest

from ghostwire import BURST, Metrics, Provider, Transport
from ghostwire.errors import PermissionDenied, PluginError, Unavailable
from ghostwire.node.transports.inflow import FLOOD, MOST
from ghostwire.node.transports.keeper import CLOSE, START, Keeper, Origin
from ghostwire.node.transports.paths import KNOWN
from ghostwire.node.transports.patience import MOST_STRAYS
from ghostwire.node.transports.supervised import Supervised
from ghostwire.plugins.offers import Offer
from ghostwire.testing import MemoryTransport, Network, running_clock, simulate, simulated
from ghostwire.testing.contracts import TransportContract
from ghostwire.wire.messages import MAX_ENDPOINT_TEXT, MAX_ENDPOINTS


class TestTheContractHoldsThroughTheSupervisor(TransportContract):
    run = staticmethod(simulate)

    async def make(self) -> Transport:
        if not hasattr(self, "network"):
            self.network = Network()
        number = len(self.network.hosts) + 1
        host = self.network.host(f"host{number}", f"192.0.2.{number}")
        made: Callable[..., Transport] = lambda metrics, failed: MemoryTransport(host)  # noqa: E731
        return Supervised(Keeper(Origin("memory"), made, Metrics(), running_clock(), logging.getLogger("ghostwire")))


async def hang(*args: object) -> None:
    await asyncio.Event().wait()


async def hang_for_ever(*args: object) -> None:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if asyncio.get_running_loop().time() > 3_000:  # lets the simulation end
                raise


def boom(*args: object) -> Any:
    raise RuntimeError("boom\nboom")


BOOM = f"RuntimeError: boom boom (test_supervised.py:{boom.__code__.co_firstlineno + 1})"


def leave(*args: object) -> Any:
    raise SystemExit(3)


# Starting


@simulated
async def test_a_start_that_fails_is_raised_and_tried_again_later(bench: Any) -> None:
    it = bench()

    async def refuse(receive: object) -> None:
        raise PermissionDenied("not yours")

    it.teach = lambda wild: setattr(wild, "start", refuse) if len(it.made) < 3 else None
    with pytest.raises(PermissionDenied, match="not yours"):
        await it.start()
    assert (it.state, it.trouble) == ("failed", "not yours")
    await asyncio.sleep(3.1)
    assert (it.state, len(it.made), it.count("restarts"), it.changes) == ("running", 3, 2, 1)
    assert [wild.closed for wild in it.made] == [1, 1, 0]
    await it.supervised.close()


@pytest.mark.parametrize("fault", [boom, leave], ids=["raises", "exits"])
@simulated
async def test_whatever_start_raises_is_one_line(bench: Any, fault: Any) -> None:
    it = bench()
    it.teach = lambda wild: setattr(wild, "start", fault)
    with pytest.raises(PluginError, match="plugin strange: start raised"):
        await it.start()
    assert "\n" not in it.trouble
    assert it.count("raised") == 1
    await it.supervised.close()


@pytest.mark.parametrize("fault", [boom, leave, lambda *args: "no transport"], ids=["raises", "exits", "nonsense"])
@simulated
async def test_a_provider_that_makes_nothing_is_asked_again(bench: Any, fault: Any) -> None:
    it = bench()
    make, it.keeper._make = it.keeper._make, fault
    assert it.keeper.create() is False
    with pytest.raises(PluginError, match="create raised"):
        await it.start()
    it.keeper._make = make
    await asyncio.sleep(3)
    assert it.state == "running"
    await it.supervised.close()


@pytest.mark.parametrize("exits", [False, True], ids=["raises", "exits"])
@simulated
async def test_a_failed_start_is_told_once_with_plugin_transport_and_line(
    bench: Any, caplog: pytest.LogCaptureFixture, exits: bool
) -> None:
    it = bench()
    fault = leave if exits else boom

    async def start(receive: object) -> None:
        fault()

    it.teach = lambda wild: setattr(wild, "start", start)
    with pytest.raises(PluginError, match="plugin strange: start raised"):
        await it.start()
    what = (
        BOOM if not exits else f"RuntimeError: SystemExit(3) (test_supervised.py:{leave.__code__.co_firstlineno + 1})"
    )
    assert [record.getMessage() for record in caplog.records] == [
        f"transport wild of plugin strange: start raised {what}; trying again in 1 s"
    ]
    assert it.trouble == f"start raised {what}"
    await it.supervised.close()


@pytest.mark.parametrize("name", ["strange", "wild"])
@simulated
async def test_one_that_cannot_be_made_is_named_once(bench: Any, caplog: pytest.LogCaptureFixture, name: str) -> None:
    it = bench()
    offer = Offer("strange", Provider(name, lambda context: "no transport"), "ghostwire_transports")
    it.keeper._make = lambda metrics, failed: offer.create(None)
    it.keeper.create()
    told = caplog.records[0].getMessage()
    assert told == "transport wild of plugin strange: made a str instead of a Transport; trying again in 1 s"
    await it.supervised.close()


@simulated
async def test_the_line_of_an_error_is_the_plugins_own_even_where_it_arose_in_the_standard_library(bench: Any) -> None:
    it = await bench().start()
    it.wild.send = lambda *args: int("no number")
    it.supervised.path("there").send([b"x"])
    assert it.trouble.startswith("raised in send: ValueError: invalid literal")
    it.wild.send = lambda *args: decode("{")
    it.supervised.path("there").send([b"x"])
    assert f"(test_supervised.py:{it.wild.send.__code__.co_firstlineno})" in it.trouble
    await it.supervised.close()


@simulated
async def test_a_start_that_hangs_is_ended_and_tried_again(bench: Any) -> None:
    it, began = bench(), asyncio.get_running_loop().time()
    it.teach = lambda wild: setattr(wild, "start", hang) if len(it.made) == 1 else None
    with pytest.raises(Unavailable, match="start did not return within 10 s"):
        await it.start()
    assert asyncio.get_running_loop().time() - began == pytest.approx(START)
    await asyncio.sleep(2)
    assert it.state == "running"
    await it.supervised.close()


@simulated
async def test_what_cannot_even_be_cancelled_is_given_up_before_it_piles_up(bench: Any) -> None:
    it = bench()
    it.teach = lambda wild: setattr(wild, "start", hang_for_ever)
    with pytest.raises(Unavailable, match="start did not return"):
        await it.start()
    await asyncio.sleep(600)
    assert len(it.made) == MOST_STRAYS
    assert it.state == "failed"
    assert "restart ghostwire" in it.trouble
    await it.supervised.close()
    await asyncio.sleep(3_000)


# Running


@simulated
async def test_one_that_says_it_failed_is_closed_and_another_follows_over_the_same_paths(bench: Any) -> None:
    it = await bench().start()
    path = it.supervised.path("there")
    assert path.send([b"one"])
    it.wild.failed("the line\nis dead")
    it.wild.failed("a second reason")
    await asyncio.sleep(0.5)
    assert (it.state, it.trouble, it.made[0].closed) == ("restarting", "the line is dead", 1)
    assert (path.send([b"two"]), it.supervised.endpoints()) == (False, ())
    it.made[0].receive(it.made[0].path("late"), [b"from the grave"])
    assert not it.got
    await asyncio.sleep(1)
    assert (it.state, it.keeper.status().restarts, it.changes) == ("running", 1, 3)
    assert path.send([b"three"])
    assert it.supervised.path("there") is path
    assert [each for wild in it.made for each in wild.sent] == [("there", [b"one"]), ("there", [b"three"])]
    await asyncio.sleep(60)
    assert it.trouble == ""
    await it.supervised.close()


@simulated
async def test_one_that_raises_wherever_it_is_called_is_no_more_than_silent(bench: Any) -> None:
    it = await bench().start()
    path = it.supervised.path("there")
    it.wild.metrics.gauge("of_its_own", "", boom)
    assert it.metrics.values()["of_its_own"] == 0.0
    it.wild.send = it.wild.endpoints = it.wild.path = boom
    assert (path.send([b"x"]), path.knock(b"x", 3), it.supervised.endpoints()) == (False, False, ())
    with pytest.raises(ValueError, match="cannot read"):
        it.supervised.path("elsewhere")
    assert (it.state, it.trouble, it.count("raised")) == ("running", f"raised in path: {BOOM}", 5)
    await it.supervised.close()


@simulated
async def test_one_that_raises_too_often_is_started_again_and_the_log_stays_short(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    it = await bench().start()
    it.wild.send = leave
    path = it.supervised.path("there")
    for _ in range(1_000):
        assert not path.send([b"x"])
    await asyncio.sleep(0.1)
    assert (it.state, it.count("raised")) == ("restarting", 1_000)
    assert "raised too often, last in send: SystemExit: 3" in it.trouble
    assert 0 < len(caplog.records) < 5
    await it.supervised.close()


@simulated
async def test_peers_endpoints_that_it_cannot_bear_are_no_reason_to_start_it_again(bench: Any) -> None:
    it = await bench().start()
    it.wild.path = boom
    for number in range(1_000):
        with pytest.raises(ValueError, match="cannot read"):
            it.supervised.path(f"peer{number}")
    await asyncio.sleep(5)
    assert (it.state, it.keeper.status().restarts) == ("running", 0)
    await it.supervised.close()


@simulated
async def test_it_may_fail_and_deliver_from_another_thread_and_only_the_first_counts(bench: Any) -> None:
    it = await bench().start()
    source = it.wild.path("there")

    def elsewhere() -> None:
        it.wild.receive(source, [b"a race"])

    thread = threading.Thread(target=elsewhere)
    # a simulated loop refuses what asyncio's takes from other threads
    asyncio.get_running_loop().call_soon_threadsafe = asyncio.get_running_loop().call_soon  # type: ignore[method-assign]
    thread.start()
    thread.join()
    await asyncio.sleep(0)
    assert (it.got, it.count("refused"), it.count("raised")) == ([], 1, 1)
    thread = threading.Thread(target=it.wild.failed, args=("from elsewhere",))
    thread.start()
    thread.join()
    await asyncio.sleep(0.1)
    assert it.trouble == "from elsewhere"
    await it.supervised.close()


# What it brings


@simulated
async def test_deliveries_come_with_paths_that_lead_back(bench: Any) -> None:
    it = await bench().start()
    for text in ("one", "two", "one"):
        it.wild.receive(it.wild.path(text), (text.encode(), bytearray(text.encode()), memoryview(text.encode())))
    assert [path.endpoint for path, _ in it.got] == ["one", "two", "one"]
    assert it.got[0][0] is it.got[2][0] is it.supervised.path("one")
    assert it.got[0][0].send([b"back"])
    assert it.wild.sent == [("one", [b"back"])]
    await it.supervised.close()


@pytest.mark.parametrize(
    ("delivery", "refused"),
    [
        ([], 1),
        ([b""], 1),
        ([bytes(MOST + 1)], 1),
        ([b"x"] * (BURST + 1), BURST + 1),
        (["text"], 1),
        ([5], 1),
        ([None], 1),
        (b"bytes", 1),
        (None, 1),
        ([memoryview(bytes(8)).cast("I")], 1),
        ([memoryview(bytes(8)).cast("c")] * 2, 2),
        ([memoryview(bytes(8)).cast("B", (2, 4)), memoryview(b"abcdefgh")[::2]], 2),
        ([memoryview(b"")], 1),
        ((each for each in [b"x"]), 1),
    ],
    ids=[
        "none",
        "empty",
        "huge",
        "many",
        "text",
        "number",
        "None",
        "bytes",
        "nothing",
        "numbers",
        "characters",
        "shapes",
        "no-view",
        "generator",
    ],
)
@simulated
async def test_garbage_is_refused_and_counted(bench: Any, delivery: Any, refused: int) -> None:
    it = await bench().start()
    it.wild.receive(it.wild.path("there"), delivery)
    assert (it.got, it.count("refused")) == ([], refused)
    it.wild.receive(it.wild.path("there"), [b"", b"good", "bad", memoryview(bytes(4)).cast("I")])
    assert [datagrams for _, datagrams in it.got] == [[b"good"]]
    await it.supervised.close()


@pytest.mark.parametrize("source", [None, 5, "there", object()], ids=["None", "number", "text", "object"])
@simulated
async def test_a_source_that_is_no_path_is_refused(bench: Any, source: Any) -> None:
    it = await bench().start()
    it.wild.receive(source, [b"x"])
    assert (it.got, it.count("refused")) == ([], 1)
    await it.supervised.close()


@simulated
async def test_a_flood_takes_a_bounded_share_of_each_pass(bench: Any) -> None:
    it = await bench().start()
    source = it.wild.path("there")
    for _ in range(2):
        for _ in range(FLOOD // BURST * 3):
            it.wild.receive(source, [b"x"] * BURST)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert sum(len(datagrams) for _, datagrams in it.got) == 2 * FLOOD
    assert it.count("refused") == 4 * FLOOD
    await it.supervised.close()


@simulated
async def test_what_sound_code_delivers_is_passed_on_unseen_and_bounded_all_the_same(bench: Any) -> None:
    it = await bench(sound=True).start()
    source, burst = it.wild.path("there"), [b"x"] * BURST
    it.wild.receive(source, [b"one", b""])
    assert it.got == [(it.supervised.path("there"), [b"one", b""])]
    await asyncio.sleep(0)
    for _ in range(FLOOD // BURST * 3):
        it.wild.receive(source, burst)
    delivered = sum(len(datagrams) for _, datagrams in it.got)
    assert FLOOD - BURST <= delivered <= FLOOD
    assert delivered + it.count("refused") == 2 + 3 * FLOOD
    await it.supervised.close()
    it.wild.receive(source, burst)
    assert sum(len(datagrams) for _, datagrams in it.got) == delivered


@simulated
async def test_sources_without_number_are_not_remembered_without_bound(bench: Any) -> None:
    it = await bench().start()
    held = it.supervised.path("held")
    for number in range(KNOWN + 500):
        it.supervised.path(f"peer{number}")
    gc.collect()
    table = it.keeper.table
    assert len(table.recent) == KNOWN
    assert len(table._held) <= KNOWN + 1
    assert it.supervised.path("held") is held
    await it.supervised.close()


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        (["here"] * 1_000, MAX_ENDPOINTS),
        (["x" * (MAX_ENDPOINT_TEXT + 1), "here"], 1),
        (["\ud800", "a\nb", "", 5, None, "here"], 1),
        ("here", 0),
        (None, 0),
        (iter(int, 1), 0),
    ],
    ids=["many", "long", "unprintable", "text", "nothing", "endless"],
)
@simulated
async def test_nonsense_that_it_advertises_is_left_out(bench: Any, said: Any, taken: int) -> None:
    it = await bench().start()
    it.wild.endpoints = lambda: said
    assert it.supervised.endpoints() == ["here"] * taken or (taken == 0 and not it.supervised.endpoints())
    assert it.count("refused") + it.count("raised") > 0
    await it.supervised.close()


@simulated
async def test_what_a_path_answers_is_true_or_false_and_what_it_leads_to_is_a_path(bench: Any) -> None:
    it = await bench().start()
    path = it.supervised.path("there")
    it.wild.send = lambda endpoint, datagrams: None
    assert path.send([b"x"]) is False
    it.wild.path = lambda endpoint: "no path"
    with pytest.raises(ValueError, match="cannot read"):
        it.supervised.path("elsewhere")
    it.wild.path = it.Wild().path
    with pytest.raises(ValueError, match="EL"):
        it.supervised.path("ELSEWHERE")
    await it.supervised.close()


# Ending


@simulated
async def test_a_close_that_hangs_or_raises_keeps_nobody(bench: Any) -> None:
    for fault in (hang, boom, leave):
        it = await bench().start()
        it.wild.close = fault
        began = asyncio.get_running_loop().time()
        await it.supervised.close()
        assert asyncio.get_running_loop().time() - began <= CLOSE
        await it.supervised.close()
        assert not [name for name in it.metrics.values() if name.startswith("of_its")]


@simulated
async def test_a_pause_and_a_hanging_start_end_with_it(bench: Any) -> None:
    it = await bench().start()
    it.wild.failed("no")
    it.teach = lambda wild: setattr(wild, "start", hang)
    await asyncio.sleep(2)
    assert len(it.made) == 2
    await it.supervised.close()
    await asyncio.sleep(100)
    assert (len(it.made), [wild.closed for wild in it.made]) == (2, [1, 1])
