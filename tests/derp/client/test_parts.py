"""Paths, routes, the choice of a relay, what waits, and what is said."""

from __future__ import annotations

import logging
from collections import Counter

import msgspec
import pytest

from ghostwire.engine import SECOND
from ghostwire.keys import NodeKey, RelayKey
from ghostwire.model import MapRelay
from ghostwire.testing import ManualClock
from ghostwire_derp.bucket import Bucket
from ghostwire_derp.client.notices import INTERVAL, Notices
from ghostwire_derp.client.path import DerpPath
from ghostwire_derp.client.relays import Relays, addresses
from ghostwire_derp.client.routes import KNOWN_PEERS, Routes

ALICE = NodeKey(b"A" * 32)


def nowhere(path, datagrams):
    raise AssertionError("nothing is sent here")


def relay(number: int, **fields) -> MapRelay:
    return MapRelay(id=number, name=f"r{number}", region=1, region_name="one", host=f"r{number}.example", **fields)


def test_a_path_is_its_peer_and_keeps_its_text():
    path = DerpPath.parse(nowhere, f"07/{ALICE}")
    assert (path.region, path.peer, path.endpoint) == (7, ALICE.raw, f"07/{ALICE}")
    assert path == DerpPath(nowhere, 9, ALICE.raw)
    assert hash(path) == hash(DerpPath(nowhere, 9, ALICE.raw))
    assert DerpPath(nowhere, 9, ALICE.raw).endpoint == f"9/{ALICE}"
    assert (path.transport, path.relayed) == ("derp", True)
    assert ALICE.raw.hex() not in repr(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        f"/{ALICE}",
        f"-1/{ALICE}",
        f"1234567890/{ALICE}",
        f"1/{ALICE} ",
        f"\u0661/{ALICE}",
        f"1/derpkey:{'0' * 64}",
        f"1/nodekey:{'A' * 64}",
        f"1/nodekey:{'a' * 63}",
    ],
)
def test_a_text_that_is_no_endpoint_is_refused(text):
    with pytest.raises(ValueError, match="REGION/nodekey:HEX expected"):
        DerpPath.parse(nowhere, text)


def test_a_peer_is_where_it_was_heard_last_until_that_is_over():
    routes = Routes(nowhere)
    assert routes.region(ALICE.raw) is None
    path = routes.heard(ALICE.raw, 1)
    assert routes.heard(ALICE.raw, 1) is path
    assert routes.heard(ALICE.raw, 2) == path
    routes.gone(ALICE.raw, 1)
    assert routes.region(ALICE.raw) == 2
    routes.gone(ALICE.raw, 2)
    routes.heard(ALICE.raw, 3)
    routes.lost(2)
    assert routes.region(ALICE.raw) == 3
    routes.lost(3)
    assert routes.region(ALICE.raw) is None


def test_no_more_peers_are_remembered_than_there_is_room_for():
    routes = Routes(nowhere)
    keys = [number.to_bytes(32) for number in range(KNOWN_PEERS + 10)]
    for key in keys:
        routes.heard(key, 1)
    assert [routes.region(key) for key in keys].count(None) == 10
    assert routes.region(keys[-1]) == 1


def ids(relays: Relays, current: MapRelay | None = None, now: int = 0) -> list[int]:
    return [each.id for each in relays.candidates(current, now)]


def test_the_assigned_relay_comes_first_and_draining_ones_last():
    known = [relay(1), relay(2, draining=True), relay(3), relay(4)]
    relays = Relays(ALICE)
    assert relays.update(known, 4)
    assert ids(relays)[0] == 4
    assert ids(relays)[-1] == 2
    assert not relays.update(known[::-1], 4), "their order is no news"
    assert relays.update(known, 2)
    assert ids(relays)[-1] == 2, "a draining relay takes nobody new, assigned or not"


def test_every_node_shuffles_for_itself_and_always_alike():
    known = [relay(number) for number in range(1, 4)]
    firsts: Counter[int] = Counter()
    for number in range(300):
        one, other = Relays(NodeKey(number.to_bytes(32))), Relays(NodeKey(number.to_bytes(32)))
        one.update(known, None)
        other.update(known[::-1], None)
        assert ids(one) == ids(other)
        firsts[ids(one)[0]] += 1
    assert min(firsts.values()) > 60


def test_who_is_well_where_it_is_stays():
    known = [relay(1), relay(2), relay(3)]
    relays = Relays(ALICE)
    relays.update(known, None)
    assert [ids(relays, each) for each in known] == [[], [], []]
    relays.update(known, 3)
    assert [ids(relays, each) for each in known] == [[3], [3], []]


def test_a_relay_that_became_another_is_left_for_whatever_there_is():
    relays = Relays(ALICE)
    relays.update([relay(1)], None)
    for field in ({"host": "other"}, {"port": 1}, {"tls": False}, {"key": RelayKey(bytes(32))}, {"certificate": "00"}):
        assert ids(relays, msgspec.structs.replace(relay(1), **field)) == [1]
    assert ids(relays, msgspec.structs.replace(relay(1), region_name="renamed")) == []
    assert ids(relays, relay(9)) == [1]


def test_a_relay_about_to_restart_is_avoided_for_that_long():
    relays = Relays(ALICE)
    relays.update([relay(1), relay(2)], 1)
    relays.restarting(relay(1), 10)
    assert (ids(relays, now=5), ids(relays, relay(1), 5)) == ([2, 1], [2])
    assert (ids(relays, now=10), ids(relays, relay(1), 10)) == ([1, 2], [])


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "expected"),
    [
        ("", "", ["r1.example"]),
        ("192.0.2.1", "2001:db8::1", ["2001:db8::1", "192.0.2.1"]),
        ("192.0.2.1", "none", ["192.0.2.1"]),
        ("none", "2001:db8::1", ["2001:db8::1"]),
        ("192.0.2.1", "", ["192.0.2.1", "r1.example"]),
        ("none", "none", []),
    ],
)
def test_addresses_are_literals_first_and_the_name_where_dns_is_to_say(ipv4, ipv6, expected):
    assert addresses(relay(1, ipv4=ipv4, ipv6=ipv6)) == expected


def test_a_bucket_fills_no_higher_than_its_burst():
    bucket = Bucket(1000, 2000, 0)
    assert bucket.take(2000, 0)
    assert not bucket.take(1, 0)
    assert bucket.take(500, SECOND // 2)
    assert not bucket.take(2001, 100 * SECOND)
    assert bucket.take(2000, 100 * SECOND)


def test_a_line_of_one_kind_comes_once_a_minute(caplog):
    clock = ManualClock()
    notices = Notices(logging.getLogger("ghostwire.plugin.derp"), clock)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            notices.say(logging.INFO, "kind", "number %d", 1)
            notices.say(logging.INFO, "other", "number %d", 2)
        clock.advance(INTERVAL)
        notices.say(logging.INFO, "kind", "number %d", 3)
    assert caplog.messages == ["number 1", "number 2", "number 3"]
