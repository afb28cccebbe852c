"""A server of the mesh that tells the others nonsense: a newer release, a wrong clock, a bug. It costs nobody else."""

import random

import msgspec
import pytest

from ghostwire.server.cluster.entries import LATEST
from ghostwire.testing import SeededEntropy, SharedStorage, simulated

HUGE = 2**64 - 1
LEASE = {"at": HUGE, "online": True, "reported": True, "session": HUGE, "sequence": HUGE, "last_seen": HUGE}
PLACES = {"home": HUGE, "relay": HUGE, "down": ["", "nonsense", "::/0"], "endpoints": [["udp", "x" * 300]]}
RELAY = {"at": HUGE, "clients": HUGE, "bytes_per_second": HUGE, "version": "x" * 400}
KEYS = ["node/1", "node/2", "node/999", "wants/1", "wants/999", "relay/1", "relay/999", "server/0"]
STRANGE = ["", "/", "node", "node/", "node/-1", "node/x", "node/\u0663", "node/" + "9" * 5000, "server/1", "later/7"]


def bodies(chance):
    """Whatever may be in an entry."""
    numbers = [-(2**63), -1, 0, 1, 2**31, 2**53, 2**63, HUGE]
    fields = [*LEASE, *PLACES, *RELAY, "peers", "name", "since"]
    anything = [None, True, 1.5, "", "text", [], {}, [1, HUGE, -1], *numbers]
    body = {"at": chance.choice(numbers), "name": "rogue"} | {
        chance.choice(fields): chance.choice(anything) for _ in range(chance.randrange(6))
    }
    packed = msgspec.msgpack.encode(body)
    return chance.choice([packed, packed, packed[:-1], b"", b"\xc1", chance.randbytes(20)])


class Rogue:
    """Posts what it likes."""

    def __init__(self, servers):
        self.storage = SharedStorage(servers.database, entropy=SeededEntropy("rogue"))
        self.counter = 0

    async def join(self):
        await self.storage.open(lambda commit: None)
        self.storage.exchange.join("f" * 16, lambda notice: None)

    def post(self, entries):
        self.counter += 1
        self.storage.exchange.post(self.counter, entries)


async def serves(s):
    """Nodes come, report and are seen, at every server."""
    for node, slot in zip(s.nodes, s.slots, strict=False):
        await node.join(slot)
        assert node.online
    await s.settle()
    for node in s.nodes[:3]:
        assert len(node.read().nodes) == 3
        assert node.online
    a, b = s.nodes[:2]
    a.endpoint = "n1:new"
    a.report()
    await s.settle()
    assert a.online
    assert b.online


@simulated
async def test_times_and_numbers_that_leave_no_room_above_them_are_not_believed(servers, caplog):
    async with servers() as s:
        rogue = Rogue(s)
        await rogue.join()
        pack = msgspec.msgpack.encode
        lease = pack(LEASE | PLACES)
        rogue.post({f"node/{number}": lease for number in (1, 2, 3, 999)} | {"relay/1": pack(RELAY)})
        await s.settle()
        await serves(s)
        assert "internal error" not in caplog.text


@simulated
async def test_a_clock_that_is_far_ahead_at_one_server_takes_no_node_from_the_others(servers):
    async with servers() as s:
        rogue = Rogue(s)
        await rogue.join()
        lease = {"at": LATEST - 10**9, "online": True, "reported": True, "session": 0, "sequence": 7}
        rogue.post({f"node/{number}": msgspec.msgpack.encode(lease) for number in (1, 2, 3)})
        await s.settle()
        await serves(s)
        assert [plane.sessions.presence.here for plane in s.planes] == [1, 1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_nonsense_of_one_server_leaves_the_others_serving(servers, caplog, seed):
    @simulated
    async def run():
        chance = random.Random(seed)
        async with servers() as s:
            rogue = Rogue(s)
            await rogue.join()
            for _ in range(30):
                rogue.post({chance.choice(KEYS + STRANGE): bodies(chance) for _ in range(5)})
                await s.settle(0.2)
            rogue.post(dict.fromkeys(KEYS + STRANGE))
            await s.settle()
            await serves(s)
            assert "internal error" not in caplog.text
            await rogue.storage.close()
            await s.settle(20)

    run()
