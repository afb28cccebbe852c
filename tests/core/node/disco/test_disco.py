"""Pings are answered, pongs and calls told, and what is forged, foreign or too much is dropped and counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire import Metrics
from ghostwire.engine import SECOND
from ghostwire.errors import LocalProtocolError
from ghostwire.keys import DiscoKey, NodeKey, PrivateKey
from ghostwire.node.disco.disco import CALLS, GUESSES, UNASKED
from ghostwire.node.disco.sessions import (
    ASKED_BURST,
    ASKED_RATE,
    MAX_ASKED,
    MAX_CLAIMED,
    MAX_SESSIONS,
    PEER_BURST,
    PEER_RATE,
    PING_BURST,
    PING_RATE,
)

PACKED = bytes(10) + b"\xff\xff" + bytes((192, 0, 2, 1)) + (41641).to_bytes(2, "big")
"""192.0.2.1:41641"""


def counted(end) -> dict[str, int]:
    """An end's counters that are not nought."""
    counters = end.disco.counters
    return {name: getattr(counters, name) for name in counters.__slots__ if getattr(counters, name)}


def packed(address: str, port: int = 41641) -> bytes:
    return bytes(10) + b"\xff\xff" + bytes(map(int, address.split("."))) + port.to_bytes(2, "big")


# Pings and pongs


def test_a_ping_is_answered_where_it_came_from_with_the_address_it_came_from(house, make_line):
    source = make_line("192.0.2.1:41641")
    house.bob.disco.receive(source, house.ping())
    assert house.bob.told == [("pinged", 1, source)]
    (pong,) = source.sent
    assert house.bob.opened(house.alice, pong) == b"\x02\x00" + house.TRANSACTION + PACKED
    house.alice.disco.receive(make_line("192.0.2.2:41641"), pong)
    line = make_line("192.0.2.2:41641")
    assert house.alice.told == [("ponged", 2, line, house.TRANSACTION, "192.0.2.1:41641")]


def test_a_ping_says_whose_it_is(house):
    assert house.alice.opened(house.bob, house.ping()) == house.plain_ping()


def test_a_padded_pings_datagram_is_as_long_as_a_full_packets(house, make_line):
    ping = house.ping(padded=True)
    assert len(ping) == 1312
    source = make_line("[2001:db8::1]:5")
    house.bob.disco.receive(source, ping)
    assert len(source.sent[0]) == 110


def test_a_ping_over_a_relay_is_answered_over_it_with_the_relays_address(house):
    source = house.alice.over_relay(region=17)
    house.bob.disco.receive(source, house.ping())
    assert house.bob.told == [("pinged", 1, source)]
    answer = house.bob.opened(house.alice, source.sent[0])
    assert answer[14:] == packed("127.3.3.40", 17)


def test_a_pong_to_a_transport_without_addresses_names_none(house, make_line):
    source = make_line("pigeon loft 7", "pigeon")
    house.bob.disco.receive(source, house.ping())
    assert house.bob.opened(house.alice, source.sent[0])[14:] == bytes(18)


def test_the_same_ping_is_answered_again_for_nothing_is_kept_of_it(house, make_line):
    source, ping = make_line("192.0.2.1:41641"), house.ping()
    for _ in range(3):
        house.bob.disco.receive(source, ping)
    assert len({house.bob.opened(house.alice, pong) for pong in source.sent}) == 1
    assert len(source.sent) == len(set(source.sent)) == 3


def test_a_ping_that_names_another_node_is_refused(house, make_line):
    source = make_line("192.0.2.1:41641")
    plain = house.plain_ping(house.carol.node_key)
    house.bob.disco.receive(source, house.alice.boxed(house.bob, plain))
    assert (source.sent, house.bob.told, counted(house.bob)) == ([], [], {"misdirected": 1})


def test_an_old_clients_ping_that_names_no_node_is_answered_where_the_answer_is_no_longer(house, make_line):
    source = make_line("192.0.2.1:41641")
    old = b"\x01\x00" + house.TRANSACTION
    house.bob.disco.receive(source, house.alice.boxed(house.bob, old + bytes(17)))
    assert (source.sent, house.bob.told) == ([], [])
    long_enough = house.alice.boxed(house.bob, old + bytes(18))
    house.bob.disco.receive(source, long_enough)
    assert [len(pong) for pong in source.sent] == [len(long_enough)]
    assert counted(house.bob) == {"pings": 1, "short_pings": 1}


def test_what_has_a_known_type_but_no_sound_body_is_counted_and_the_future_is_ignored(house, make_line):
    for plain in (b"", b"\x01\x00short", b"\x02\x00" + bytes(29), b"\x03\x00" + bytes(17)):
        house.bob.disco.receive(make_line("192.0.2.1:1"), house.alice.boxed(house.bob, plain))
    for plain in (b"\x04\x00" + bytes(90), b"\x03\x01" + bytes(18)):
        house.bob.disco.receive(make_line("192.0.2.1:1"), house.alice.boxed(house.bob, plain))
    assert (house.bob.told, counted(house.bob)) == ([], {"malformed": 4, "ignored": 2})


def test_where_it_cannot_be_sent_the_caller_learns_of_it(house, make_line):
    line = make_line("192.0.2.2:41641")
    line.open = False
    assert not house.alice.disco.ping(2, line, house.TRANSACTION, padded=False)
    assert not house.alice.disco.ping(77, line, house.TRANSACTION, padded=False)
    assert counted(house.alice) == {}


# Whose it is


def test_a_stranger_is_dropped_before_anything_is_deciphered(house, make_line):
    house.change(removed_nodes=(1,))
    house.bob.disco.receive(make_line("192.0.2.1:41641"), house.ping())
    assert (house.bob.told, counted(house.bob)) == ([], {"strangers": 1})


def test_a_nodes_own_datagrams_come_back_to_nobody(house, make_line):
    house.alice.disco.receive(make_line("192.0.2.1:41641"), house.ping())
    assert counted(house.alice) == {"sent_pings": 1, "strangers": 1}


def test_what_arrives_after_the_map_was_forgotten_is_a_strangers(house, make_line):
    house.network.nodes.clear()
    house.bob.disco.receive(make_line("192.0.2.1:41641"), house.ping())
    assert counted(house.bob) == {"strangers": 1}


def test_a_relay_that_names_another_node_as_the_sender_is_not_believed(house, make_line):
    call = house.alice.boxed(house.bob, b"\x03\x00" + PACKED)
    pong = house.alice.boxed(house.bob, b"\x02\x00" + house.TRANSACTION + PACKED)
    sources = (house.carol.over_relay(), make_line("900/nonsense", "derp"))
    for source in sources:
        for datagram in (house.ping(), pong, call):
            house.bob.disco.receive(source, datagram)
    assert counted(house.bob) == {"misdirected": 6}
    assert [source.sent for source in sources] == [[], []]
    assert house.bob.told == []


def test_with_two_nodes_of_one_key_neither_is_spoken(house, make_line):
    ping, line = house.ping(), make_line("192.0.2.1:41641")
    house.change(nodes=(house.carol.map_node(disco_key=house.alice.key.public(DiscoKey)),))
    house.bob.disco.receive(line, ping)
    assert [house.bob.disco.ping(id_, line, house.TRANSACTION, padded=False) for id_ in (1, 3)] == [False, False]
    assert (house.bob.told, line.sent, counted(house.bob)) == ([], [], {"ambiguous": 1})
    metrics = Metrics()
    house.bob.disco.register(metrics)
    assert metrics.values()["ghostwire_node_disco_shared_keys"] == 1
    house.change(nodes=(house.carol.node,))
    house.bob.disco.receive(line, ping)
    assert house.bob.told == [("pinged", 1, line)]
    assert metrics.values()["ghostwire_node_disco_shared_keys"] == 0


def test_a_node_with_this_nodes_own_key_is_not_spoken_with(house, make_line):
    house.change(nodes=(house.bob.map_node(disco_key=house.alice.key.public(DiscoKey)),))
    assert not house.alice.disco.ping(2, make_line("192.0.2.2:1"), house.TRANSACTION, padded=False)


def test_a_peers_new_key_takes_the_place_of_its_old_one(house, make_line):
    old = house.ping()
    house.alice.key = PrivateKey.generate(house.alice.entropy)
    house.change(nodes=(house.alice.node,))
    source = make_line("192.0.2.1:41641")
    house.bob.disco.receive(source, old)
    assert counted(house.bob) == {"strangers": 1}
    house.bob.disco.receive(source, house.alice.boxed(house.bob, house.plain_ping()))
    assert house.bob.told == [("pinged", 1, source)]


def test_a_peers_new_node_key_is_the_one_that_its_pings_must_name(house, make_line):
    old, source = house.ping(), make_line("192.0.2.1:41641")
    house.change(nodes=(house.alice.map_node(node_key=NodeKey(b"n" * 32)),))
    house.bob.disco.receive(source, old)
    house.bob.disco.receive(source, house.alice.boxed(house.bob, house.plain_ping(NodeKey(b"n" * 32))))
    assert counted(house.bob) == {"pings": 1, "misdirected": 1}


def test_nodes_without_a_disco_key_are_not_spoken_with(house, make_line):
    none = DiscoKey(bytes(32))
    house.change(nodes=(house.alice.map_node(disco_key=none), house.carol.map_node(disco_key=none)))
    house.bob.disco.receive(make_line("192.0.2.1:1"), b"TS\xf0\x9f\x92\xac" + bytes(32 + 24 + 62))
    assert not house.bob.disco.ping(1, make_line("192.0.2.1:1"), house.TRANSACTION, padded=False)
    assert counted(house.bob) == {"strangers": 1}


def test_a_key_that_can_be_nobodys_hurts_nobody(house, make_line):
    low = b"\1" + bytes(31)
    house.change(nodes=(house.alice.map_node(disco_key=DiscoKey(low)),))
    house.bob.disco.receive(make_line("192.0.2.1:1"), b"TS\xf0\x9f\x92\xac" + low + bytes(24 + 62))
    assert not house.bob.disco.ping(1, make_line("192.0.2.1:1"), house.TRANSACTION, padded=False)
    assert counted(house.bob) == {"malformed": 2}


# Call me, maybe


def test_a_call_over_the_peers_relay_is_told(house):
    line = house.bob.over_relay()
    told = ["192.0.2.1:41641", "not an endpoint", "host.example:1", "[2001:db8::1]:7", "192.0.2.1:41641"]
    assert house.alice.disco.call_me_maybe(2, line, told)
    house.bob.disco.receive(house.alice.over_relay(), line.sent[0])
    assert house.bob.told == [("called", 1, ("192.0.2.1:41641", "[2001:db8::1]:7"))]


def test_a_call_has_at_most_32_endpoints_and_at_least_one(house):
    line = house.bob.over_relay()
    assert house.alice.disco.call_me_maybe(2, line, [f"192.0.2.1:{port}" for port in range(1, 100)])
    assert len(line.sent[0]) == 38 + 40 + 2 + 32 * 18
    assert not house.alice.disco.call_me_maybe(2, line, [])
    assert not house.alice.disco.call_me_maybe(2, line, ["host.example:1"])
    assert len(line.sent) == 1


def test_a_call_that_came_over_no_relay_does_not_count(house, make_line):
    call = house.alice.boxed(house.bob, b"\x03\x00" + PACKED)
    house.bob.disco.receive(make_line("192.0.2.1:41641"), call)
    assert (house.bob.told, counted(house.bob)) == ([], {"direct_calls": 1})


def test_to_call_over_no_relay_is_a_bug(house, make_line):
    with pytest.raises(LocalProtocolError):
        house.alice.disco.call_me_maybe(2, make_line("192.0.2.2:41641"), ["192.0.2.1:41641"])


def test_a_peer_may_call_once_a_second(house):
    call = house.alice.boxed(house.bob, b"\x03\x00" + PACKED)
    for _ in range(3):
        house.bob.disco.receive(house.alice.over_relay(), call)
    assert counted(house.bob) == {"calls": 1, "frequent_calls": 2}
    house.bob.disco.receive(house.carol.over_relay(), house.carol.boxed(house.bob, b"\x03\x00" + PACKED))
    house.clock.advance(SECOND)
    house.bob.disco.receive(house.alice.over_relay(), call)
    assert [told[:2] for told in house.bob.told] == [("called", 1), ("called", 3), ("called", 1)]


def test_all_peers_together_may_call_only_so_often(house):
    rate, burst = CALLS
    callers = [house.End(id_, house.network, house.clock) for id_ in range(10, 10 + burst + 5)]
    house.change(nodes=tuple(each.node for each in callers))
    for each in callers:
        house.bob.disco.receive(each.over_relay(), each.boxed(house.bob, b"\x03\x00" + PACKED))
    assert counted(house.bob) == {"calls": burst, "limited": 5}
    house.clock.advance(2 * SECOND)
    for each in callers:
        house.bob.disco.receive(each.over_relay(), each.boxed(house.bob, b"\x03\x00" + PACKED))
    assert counted(house.bob)["calls"] == burst + 2 * rate


def test_a_call_may_not_lead_to_where_no_peer_lives(house):
    refused = ["127.0.0.1", "224.0.0.1", "239.255.255.250", "255.255.255.255", "0.0.0.0", "169.254.1.1"]
    plain = b"\x03\x00" + b"".join(map(packed, [*refused, "198.51.100.7"]))
    for address in (bytes(15) + b"\1", b"\xff\x02" + bytes(13) + b"\1", bytes(16), b"\xfe\x80" + bytes(13) + b"\1"):
        plain += address + b"\0\7"
    house.bob.disco.receive(house.alice.over_relay(), house.alice.boxed(house.bob, plain))
    assert house.bob.told == [("called", 1, ("198.51.100.7:41641",))]
    assert counted(house.bob) == {"calls": 1, "refused_endpoints": len(refused) + 4}


# Too much


def bob_asks(house, line) -> None:
    """Bob pings alice over this line."""
    assert house.bob.disco.ping(1, line, house.TRANSACTION, padded=False)
    line.sent.clear()


@pytest.mark.parametrize(
    ("asked", "relayed", "burst", "rate"),
    [
        (False, False, PEER_BURST, PEER_RATE),
        (False, True, PEER_BURST, PEER_RATE),
        (True, False, ASKED_BURST, ASKED_RATE),
    ],
)
def test_one_peer_is_heard_only_so_often(house, make_line, asked, relayed, burst, rate):
    ping = house.ping()
    source = house.alice.over_relay() if relayed else make_line("192.0.2.1:41641")
    if asked:
        bob_asks(house, source)
    for _ in range(burst + 5):
        house.bob.disco.receive(source, ping)
    house.clock.advance(SECOND)
    assert len(source.sent) == burst + (not asked)
    assert counted(house.bob)["limited"] == 5 - (not asked)
    source.sent.clear()
    for _ in range(2 * rate):
        house.bob.disco.receive(source, ping)
    assert len(source.sent) == rate


def flood(house, make_line, datagram: bytes, count: int = 1000) -> None:
    """A stranger sends that from everywhere."""
    for port in range(1, 1 + count):
        house.bob.disco.receive(make_line(f"203.0.113.66:{port}"), datagram)


@pytest.mark.parametrize("replayed", [False, True])
def test_a_flood_forged_or_replayed_from_elsewhere_leaves_the_path_alone_that_was_pinged(house, make_line, replayed):
    path = make_line("192.0.2.1:41641")
    bob_asks(house, path)
    flood(house, make_line, house.ping() if replayed else house.ping()[:-1] + b"?")
    house.bob.told.clear()
    house.bob.disco.receive(make_line("192.0.2.1:5"), house.ping())
    house.bob.disco.receive(path, house.ping())
    assert house.bob.told == [("pinged", 1, path)]
    assert counted(house.bob)["limited"] == 1001 - PEER_BURST


def test_a_flood_from_elsewhere_leaves_calls_over_relays_alone(house, make_line):
    flood(house, make_line, house.ping()[:-1] + b"?")
    house.bob.disco.receive(house.alice.over_relay(), house.alice.boxed(house.bob, b"\x03\x00" + PACKED))
    assert house.bob.told == [("called", 1, ("192.0.2.1:41641",))]


def test_a_relay_that_floods_in_a_peers_name_leaves_the_direct_path_alone(house, make_line):
    path, relay = make_line("192.0.2.1:41641"), house.alice.over_relay()
    bob_asks(house, path)
    bob_asks(house, relay)
    forged = house.ping()[:-1] + b"?"
    for _ in range(3000):
        house.bob.disco.receive(relay, forged)
    house.bob.disco.receive(path, house.ping())
    assert house.bob.told == [("pinged", 1, path)]


def test_a_bounded_number_of_paths_count_as_pinged(house, make_line):
    lines = [make_line(f"192.0.2.1:{port}") for port in range(1, MAX_ASKED + 2)]
    for line in lines:
        bob_asks(house, line)
        house.bob.disco.receive(line, house.ping())
    session = house.bob.disco._sessions.get(house.alice.key.public(DiscoKey))
    assert [session.is_at(line) for line in lines] == [False] + [True] * MAX_ASKED


def crowd(house, count: int) -> list[DiscoKey]:
    """So many more peers of bob's, after their disco keys."""
    numbers = range(10, 10 + count)
    keys = {id_: PrivateKey((8 * id_).to_bytes(32, "little")).public(DiscoKey) for id_ in numbers}
    house.change(nodes=tuple(house.carol.map_node(id=id_, disco_key=key) for id_, key in keys.items()))
    return list(keys.values())


def test_all_peers_together_are_heard_only_so_often(house, make_line):
    rate, burst = UNASKED
    path = make_line("192.0.2.1:41641")
    bob_asks(house, path)
    for key in crowd(house, burst + 5):
        house.bob.disco.receive(make_line("203.0.113.66:1"), b"TS\xf0\x9f\x92\xac" + key.raw + bytes(24 + 62))
    assert (counted(house.bob)["malformed"], counted(house.bob)["limited"]) == (burst, 5)
    house.bob.disco.receive(make_line("192.0.2.1:5"), house.ping())
    assert house.bob.told == []
    house.bob.disco.receive(path, house.ping())
    house.clock.advance(SECOND // rate)
    house.bob.disco.receive(make_line("192.0.2.1:5"), house.ping())
    assert len(house.bob.told) == 2


def test_claims_of_strangers_push_no_session_out_that_was_asked_or_proven(house, make_line):
    house.bob.disco.receive(make_line("192.0.2.1:5"), house.ping())
    bob_asks(house, make_line("192.0.2.1:41641"))
    sessions = house.bob.disco._sessions
    before = sessions.get(house.alice.key.public(DiscoKey))
    for key in crowd(house, MAX_SESSIONS + 5):
        house.bob.disco.receive(make_line("203.0.113.66:1"), b"TS\xf0\x9f\x92\xac" + key.raw + bytes(24 + 62))
    assert len(sessions) == 1 + MAX_CLAIMED
    assert sessions.get(house.alice.key.public(DiscoKey)) is before
    for id_ in range(10, 10 + MAX_SESSIONS + 5):
        house.bob.disco.ping(id_, make_line("192.0.2.1:41641"), house.TRANSACTION, padded=False)
    assert len(sessions) <= MAX_SESSIONS + MAX_CLAIMED


# Pings to where nobody may be


def test_where_a_peer_never_answered_it_is_pinged_only_so_often(house, make_line):
    def pings(port: int) -> bool:
        return house.bob.disco.ping(1, make_line(f"198.51.100.66:{port}"), house.TRANSACTION, padded=False)

    assert sum(pings(port) for port in range(1, 2000)) == PING_BURST
    assert counted(house.bob) == {"sent_pings": PING_BURST, "held_pings": 1999 - PING_BURST}
    house.clock.advance(SECOND)
    assert sum(pings(port) for port in range(1, 2000)) == PING_RATE


def test_the_path_over_which_a_peer_answered_is_pinged_all_the_same(house, make_line):
    path = make_line("192.0.2.1:41641")
    bob_asks(house, path)
    house.bob.disco.receive(path, house.ping())
    for port in range(1, 2000):
        house.bob.disco.ping(1, make_line(f"198.51.100.66:{port}"), house.TRANSACTION, padded=False)
    bob_asks(house, path)


def test_who_sends_from_where_it_was_not_pinged_has_not_answered_there(house, make_line):
    victim = make_line("198.51.100.66:1")
    house.bob.disco.receive(victim, house.ping())
    sent = sum(house.bob.disco.ping(1, victim, house.TRANSACTION, padded=False) for _ in range(2000))
    assert sent == PING_BURST


def test_all_peers_together_make_a_node_ping_only_so_many(house, make_line):
    crowd(house, GUESSES[1] // PING_BURST + 5)
    line = make_line("198.51.100.66:1")
    peers = range(10, 10 + GUESSES[1] // PING_BURST + 5)
    sent = sum(
        house.bob.disco.ping(peer, line, house.TRANSACTION, padded=False) for _ in range(PING_BURST) for peer in peers
    )
    assert sent == GUESSES[1]


@given(st.lists(st.tuples(st.sampled_from([b"", b"\x01\x00", b"\x02\x00", b"\x03\x00"]), st.binary(max_size=80))))
def test_whatever_comes_an_honest_ping_is_answered(house_factory, messages):
    house = house_factory()
    source = house.Line("192.0.2.1:41641")
    for head, rest in messages[:100]:
        house.bob.disco.receive(house.Line("192.0.2.1:7"), head + rest)
        house.bob.disco.receive(house.Line("192.0.2.1:7"), house.ping()[:38] + head + rest)
        house.bob.disco.receive(house.alice.over_relay(), house.alice.boxed(house.bob, head + rest))
        house.clock.advance(SECOND)
    house.bob.disco.receive(source, house.ping())
    assert house.bob.told[-1] == ("pinged", 1, source)


def test_everything_that_is_counted_is_a_metric(house, make_line):
    metrics = Metrics()
    house.bob.disco.register(metrics)
    house.bob.disco.receive(make_line("192.0.2.1:41641"), house.ping())
    values = metrics.values()
    assert values["ghostwire_node_disco_pings_total"] == 1
    assert sum(values.values()) == 1
    assert all(metric.help for metric in metrics)
