"""Path choice for a thousand peers: those that sleep cost nothing, those that talk the same whoever else there is."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Sequence

from ghostwire import Activity, Path
from ghostwire.capabilities.transport import Buffer
from ghostwire.driver import Driver
from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.node.paths.decisions import Ping, Rest
from ghostwire.node.paths.paths import Paths
from ghostwire.testing import SeededEntropy, running_clock, simulated

PEERS = 1000
ACTIVE, FEW = 20, 5
LATENCY = 20 * MILLISECOND


class Way(Path):
    """A path that exists only in name."""

    def __init__(self, endpoint: str, *, relayed: bool = False) -> None:
        self.endpoint, self.relayed = endpoint, relayed
        self.transport = "derp" if relayed else "udp"

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Way) and self.endpoint == other.endpoint

    def __hash__(self) -> int:
        return hash(self.endpoint)


class Crowd:
    """Path choice, and peers that answer each ping after `LATENCY`. Counts what it decides and how often it is due."""

    def __init__(self) -> None:
        self.clock = running_clock()
        self.counted: Counter[str] = Counter()
        self.moved: dict[int, int] = {}
        self.asleep: set[int] = set()
        self.paths = Paths(
            SeededEntropy("crowd"),
            self.activity,
            rank=lambda transport: 0,
            relay=lambda peer: Way(f"1/{peer}", relayed=True),
            known=self.known,
        )
        self.driver = Driver(self, self.clock, self.carry_out)

    def known(self, peer: int) -> Iterable[Path]:
        return [Way(f"198.51.{peer >> 8}.{peer & 255}:41641"), Way(f"10.0.{peer >> 8}.{peer & 255}:41641")]

    def activity(self, peer: int) -> Activity:
        self.counted["looks"] += 1
        at = self.moved.get(peer, 0)
        return Activity(sent=at, received=at, heard=at)

    def deadline(self) -> int | None:
        return self.paths.deadline()

    def advance(self, now: int) -> None:
        self.counted["timers"] += 1
        self.paths.advance(now)

    def carry_out(self) -> None:
        for decision in self.paths.drain():
            self.counted[type(decision).__name__] += 1
            if isinstance(decision, Ping) and decision.path.endpoint.startswith("198."):
                asyncio.get_running_loop().call_later(LATENCY / SECOND, self.pong, decision)
            elif isinstance(decision, Rest):
                self.asleep.add(decision.peer)

    def pong(self, ping: Ping) -> None:
        self.paths.ponged(ping.peer, ping.path, ping.transaction, self.clock.now())
        self.driver.settle()

    def talk(self, peers: Iterable[int]) -> None:
        """Data moves both ways, which the tunnel tells of where the peer was asleep."""
        for peer in peers:
            self.moved[peer] = self.clock.now()
            if peer in self.asleep or peer not in self.paths.known:
                self.asleep.discard(peer)
                self.paths.awake(peer, self.clock.now())
        self.driver.settle()

    async def talking(self, peers: Iterable[int], seconds: int) -> Counter[str]:
        """What it took to have these peers talk all the while."""
        before = self.counted.copy()
        for _ in range(seconds):
            self.talk(peers)
            await asyncio.sleep(1)
        return self.counted - before


@simulated
async def test_a_thousand_sleeping_peers_need_no_timer_at_all() -> None:
    crowd = Crowd()
    await crowd.talking(range(PEERS), 3)
    assert all(crowd.paths.in_use(peer) == Way(f"198.51.{peer >> 8}.{peer & 255}:41641") for peer in range(PEERS))
    await asyncio.sleep(60)
    assert len(crowd.asleep) == PEERS
    assert crowd.paths.deadline() is None
    before = crowd.counted.copy()
    await asyncio.sleep(3600)
    assert crowd.counted == before


@simulated
async def test_twenty_active_peers_cost_the_same_among_a_thousand_as_alone() -> None:
    alone, among = Crowd(), Crowd()
    await among.talking(range(PEERS), 3)
    await asyncio.sleep(60)
    for crowd in (alone, among):
        await crowd.talking(range(ACTIVE), 5)
    few, many = await alone.talking(range(ACTIVE), 30), await among.talking(range(ACTIVE), 30)
    for each in (few, many):
        assert each["Ping"] <= 0.5 * ACTIVE * 30, "one every 3 s, and a look at all candidates now and then"
        assert each["looks"] <= 2 * ACTIVE * 30
        assert each["timers"] <= 4 * 30, "all peers share wake-ups"


@simulated
async def test_data_itself_costs_path_choice_nothing() -> None:
    crowd = Crowd()
    await crowd.talking(range(ACTIVE), 5)
    spent = []
    for pause in (0.1, 0.001):
        before = crowd.counted.copy()
        for _ in range(round(20 / pause)):
            crowd.talk(range(ACTIVE))
            await asyncio.sleep(pause)
        spent.append((crowd.counted - before).total())
    assert spent[1] < 1.2 * spent[0], "a hundred times the packets"


async def memory_after(crowd: Crowd, hour: int) -> int:
    """Bytes held after an hour in which every peer was pinged from and called to ever new addresses."""
    for peer in range(FEW):
        now = crowd.clock.now()
        crowd.paths.pinged(peer, Way(f"203.0.{hour}.{peer}:{1024 + peer}"), now)
        crowd.paths.called(peer, [Way(f"203.1.{hour}.{each}:{1024 + peer}") for each in range(32)], now)
    await crowd.talking(range(FEW), 2)
    await asyncio.sleep(3600)
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@simulated
async def test_what_peers_hold_of_memory_does_not_grow() -> None:
    tracemalloc.start()
    try:
        crowd = Crowd()
        held = [await memory_after(crowd, hour) for hour in range(10)]
    finally:
        tracemalloc.stop()
    assert held[-1] < 1.02 * held[-4], held
    assert max(held) / FEW < 32_000, held
