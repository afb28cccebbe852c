"""Reports, interests, and who is told whose endpoints."""

import pytest

from ghostwire.model import Endpoint
from ghostwire.server.cluster.entries import LeaseEntry
from ghostwire.server.nodes.interests import MAX_INTERESTS
from ghostwire.server.nodes.lease import CHANGES, EVERY
from ghostwire.server.nodes.presence import Presence
from ghostwire.testing import simulated
from ghostwire.wire.messages import MAX_ENDPOINTS, Interest, PeerEndpoints, Report


class Told:
    """A presence, and what it said to whom."""

    def __init__(self) -> None:
        self.said: list[tuple[int, int, tuple[str, ...]]] = []
        self.presence = Presence(self._tell)
        self.now = 100

    def _tell(self, node: int, message: PeerEndpoints) -> None:
        self.said.append((node, message.node, tuple(endpoint.text for endpoint in message.endpoints)))

    def report(self, node: int, sequence: int, *endpoints: str, session: int = 1) -> bool:
        found = tuple(Endpoint("udp", text) for text in endpoints)
        return self.presence.report(node, Report(session=session, sequence=sequence, endpoints=found), self.now)

    def news(self) -> list[tuple[int, int, tuple[str, ...]]]:
        said, self.said = sorted(self.said), []
        return said


@pytest.fixture
def told() -> Told:
    told = Told()
    for node in (1, 2, 3):
        told.presence.arrive(node, 100)
    return told


def test_an_interest_tells_both_ends(told):
    told.report(1, 1, "a:1")
    told.report(2, 1, "b:1")
    told.presence.interest(1, 2, True)
    assert told.news() == [(1, 2, ("b:1",)), (2, 1, ("a:1",))]


def test_nobody_else_is_told(told):
    told.report(1, 1, "a:1")
    told.report(2, 1, "b:1")
    assert told.news() == []


def test_later_endpoints_are_told_while_the_interest_lasts(told):
    told.report(1, 1, "a:1")
    told.presence.interest(1, 2, True)
    told.news()
    told.report(2, 1, "b:1")
    assert (1, 2, ("b:1",)) in told.news()
    told.report(2, 2, "b:2")
    told.report(1, 2, "a:2")
    assert told.news() == [(1, 2, ("b:2",)), (2, 1, ("a:2",))]
    told.presence.interest(1, 2, False)
    told.report(2, 3, "b:3")
    assert told.news() == []


def test_a_peer_that_comes_back_hears_of_who_wants_it(told):
    told.report(1, 1, "a:1")
    told.presence.interest(1, 2, True)
    told.presence.depart(2, 200)
    told.presence.arrive(2, 300)
    told.news()
    told.report(2, 1, "b:1")
    assert told.news() == [(1, 2, ("b:1",)), (2, 1, ("a:1",))]


def test_an_interest_ends_with_its_stream(told):
    told.report(2, 1, "b:1")
    told.presence.interest(1, 2, True)
    told.presence.depart(1, 200)
    told.news()
    told.report(2, 2, "b:2")
    assert told.news() == []


def test_a_report_older_than_the_last_does_not_count(told):
    assert told.report(1, 5, "a:5")
    assert not told.report(1, 5, "a:6")
    assert not told.report(1, 4, "a:4")
    assert told.report(1, 0, "a:0", session=2)
    assert not told.report(1, 99, "a:99", session=1)
    assert told.presence.lease(1).endpoints == (Endpoint("udp", "a:0"),)


def test_the_last_report_stays_known_after_the_stream_ended(told):
    told.report(1, 1, "a:1")
    told.presence.depart(1, 250)
    lease = told.presence.lease(1)
    assert (lease.online, lease.last_seen, len(lease.endpoints)) == (False, 250, 1)
    assert told.presence.online == 2


def test_a_removed_node_is_forgotten(told):
    told.report(2, 1, "b:1")
    told.presence.interest(1, 2, True)
    told.presence.interest(2, 3, True)
    told.presence.remove(2)
    told.news()
    told.report(3, 1, "c:1")
    assert told.news() == []
    assert not told.presence.lease(2).online
    assert told.presence.online == 2


def test_a_removed_node_counts_at_no_other_server_though_that_has_not_heard_of_it_yet(told):
    told.presence.take("b", 9, LeaseEntry(at=10, online=True), 100)
    assert told.presence.count("b") == 1
    told.presence.remove(9)
    assert told.presence.count("b") == 0


def test_endpoints_and_interests_are_bounded(told):
    told.report(1, 1, *(f"a:{number}" for number in range(100)), "x" * 5000)
    assert len(told.presence.lease(1).endpoints) == MAX_ENDPOINTS
    for peer in range(10, 10 + 2 * MAX_INTERESTS):
        told.presence.interest(1, peer, True)
    told.news()
    told.report(10, 1, "old:1")
    told.report(10 + 2 * MAX_INTERESTS - 1, 1, "new:1")
    assert (1, 10 + 2 * MAX_INTERESTS - 1, ("new:1",)) in told.news()
    assert len(told.presence.wishes(1)) == MAX_INTERESTS


@simulated
async def test_endpoints_travel_between_real_sessions(serve):
    async with serve() as rig:
        alice, bob = await rig.clients(2)
        ids = {name: node.id for name, node in rig.nodes.items()}
        bob.stream.say(Report(session=1, sequence=1, endpoints=(Endpoint("udp", "192.0.2.9:41641"),)))
        alice.stream.say(Interest(node=ids["host2"]))
        (message,) = alice.stream.of(PeerEndpoints)
        assert (message.node, message.endpoints[0].text) == (ids["host2"], "192.0.2.9:41641")
        alice.stream.say(Interest(node=99))
        alice.stream.say(Interest(node=ids["host1"]))
        assert len(alice.stream.of(PeerEndpoints)) == 1


@simulated
async def test_a_slow_reader_gets_the_endpoints_it_missed_once_it_reads_again(serve):
    async with serve() as rig:
        alice, bob = await rig.clients(2)
        alice.stream.say(Interest(node=rig.nodes["host2"].id))
        alice.stream.slow = True
        for sequence in range(5):
            endpoint = Endpoint("udp", f"192.0.2.9:{sequence}")
            bob.stream.say(Report(session=1, sequence=sequence, endpoints=(endpoint,)))
        assert alice.stream.of(PeerEndpoints) == []
        alice.stream.drain()
        (message,) = alice.stream.of(PeerEndpoints)
        assert message.endpoints[0].text == "192.0.2.9:4"


def test_of_a_node_that_moves_all_the_time_others_hear_only_so_often_and_who_asks_hears_the_latest(told):
    told.report(1, 1, "a:1")
    told.presence.interest(2, 1, True)
    told.now += CHANGES * EVERY
    told.news()
    for sequence in range(10, 60):
        told.report(1, sequence, f"a:{sequence}")
    assert len(told.news()) == CHANGES
    told.now += 2 * EVERY
    for sequence in range(100, 110):
        told.report(1, sequence, f"a:{sequence}")
    assert len(told.news()) == 2
    told.presence.interest(3, 1, True)
    assert told.news() == [(3, 1, ("a:109",))]


def test_a_clock_that_was_put_back_silences_nobody_for_long(told):
    told.now = 1_000_000
    told.presence.interest(2, 1, True)
    for sequence in range(1, 60):
        told.report(1, sequence, f"a:{sequence}")
    told.news()
    told.now = 100
    told.report(1, 100, "a:100")
    assert told.news() == []
    told.now += EVERY
    told.report(1, 101, "a:101")
    assert told.news() == [(2, 1, ("a:101",))]


def test_of_two_servers_words_on_a_node_that_of_its_later_report_counts(told):
    presence = told.presence

    def lease(sequence: int, at: int, text: str, **more: object) -> LeaseEntry:
        where = (Endpoint("udp", text),)
        return LeaseEntry(at=at, online=True, session=1, sequence=sequence, endpoints=where, **more)

    def known() -> tuple[str, int | None]:
        return presence.lease(9).endpoints[0].text, presence.lease(9).relay

    presence.take("b", 9, lease(5, 10, "new:1"), 100)
    presence.take("c", 9, lease(4, 20, "old:1"), 100)
    assert known() == ("new:1", None)
    presence.take("c", 9, lease(5, 30, "last:1"), 100)
    assert known() == ("last:1", None), "of one report, what was written last"
    presence.take("b", 9, lease(5, 29, "new:1"), 100)
    assert known() == ("last:1", None)
    presence.take("c", 9, lease(5, 30, "last:1", relay=3), 100)
    assert known() == ("last:1", 3), "the same server may say more of it"
    presence.take("b", 9, None, 100)
    presence.take("c", 9, None, 100)
    assert (known(), presence.lease(9).online) == (("last:1", 3), False)
