"""What becomes of routes that nodes advertise: records, approvals, refusals."""

import pytest
from msgspec.structs import replace

from ghostwire.errors import Conflict, NotFound
from ghostwire.model import Relay

EXIT = ("0.0.0.0/0", "::/0")


# Advertising


def test_what_is_advertised_waits_for_somebodys_word(scene):
    s = scene()
    s.report(1, "10.1.0.0/16", "fd00:1::/64")
    assert s.shown(1) == {"10.1.0.0/16": "-", "fd00:1::/64": "-"}
    assert s.routes[0].created == 1000


def test_a_route_keeps_its_record_as_long_as_it_is_advertised(scene):
    s = scene()
    s.report(1, "10.1.0.0/16")
    before = s.routes
    s.report(1, "10.2.0.0/16", "10.1.0.0/16")
    assert s.routes[0] == before[0]
    s.report(1, "10.2.0.0/16")
    assert s.shown(1) == {"10.2.0.0/16": "-"}


def test_nothing_new_writes_nothing(scene):
    s = scene(n1=["10.0.0.0/8"])
    s.report(1, "10.1.0.0/16")
    before = dict(s.database.records)
    s.report(1, "10.1.0.0/16")
    s.judge()
    assert s.database.records == before
    assert s.database.last_ids[type(s.routes[0])] == 1


def test_an_administrators_word_outlives_what_a_node_advertises(scene):
    s = scene()
    s.report(1, "10.1.0.0/16", "10.2.0.0/16")
    s.approve(1, "10.1.0.0/16")
    s.reject(1, "10.2.0.0/16")
    s.report(1)
    assert s.shown(1) == {"(10.1.0.0/16)": "+root", "(10.2.0.0/16)": "-root"}
    s.report(1, "10.1.0.0/16", "10.2.0.0/16")
    assert s.shown(1) == {"10.1.0.0/16": "+root", "10.2.0.0/16": "-root"}


def test_what_the_policy_approved_is_forgotten_when_it_is_withdrawn(scene):
    s = scene(n1=["10.0.0.0/8"])
    s.report(1, "10.1.0.0/16")
    assert s.shown(1) == {"10.1.0.0/16": "+auto"}
    s.report(1)
    assert s.shown(1) == {}


def test_a_node_that_is_gone_has_nothing(scene):
    s = scene(user1=["10.0.0.0/8"])
    s.report(77, "10.1.0.0/16")
    assert s.routes == []


# The policy's word


def test_the_policy_approves_what_it_grants_and_says_so(scene):
    s = scene(n1=["10.0.0.0/8"])
    s.report(1, "10.1.0.0/16", "11.0.0.0/8")
    assert s.shown(1) == {"10.1.0.0/16": "+auto", "11.0.0.0/8": "-"}
    assert s.said == ["10.1.0.0/16 of node1 is approved by the policy"]


def test_another_policy_takes_back_what_it_no_longer_grants_and_gives_what_it_does(scene):
    s = scene(n1=["10.0.0.0/8"])
    s.report(1, "10.1.0.0/16", "11.0.0.0/8")
    s.approve(1, "10.1.0.0/16")
    s.report(2, "12.0.0.0/8")
    s.grant(n1=["11.0.0.0/8"], n2=["12.0.0.0/8"])
    s.judge()
    assert s.shown(1) == {"10.1.0.0/16": "+root", "11.0.0.0/8": "+auto"}
    assert s.shown(2) == {"12.0.0.0/8": "+auto"}
    s.grant()
    s.judge()
    assert s.shown(1) == {"10.1.0.0/16": "+root", "11.0.0.0/8": "-"}
    assert s.said == [
        "11.0.0.0/8 of node1 is no longer approved: the policy does not grant it",
        "12.0.0.0/8 of node2 is no longer approved: the policy does not grant it",
    ]


def test_what_an_administrator_rejected_the_policy_does_not_approve(scene):
    s = scene(n1=["10.0.0.0/8"])
    s.report(1, "10.1.0.0/16")
    s.reject(1, "10.1.0.0/16")
    s.judge()
    s.report(1)
    s.report(1, "10.1.0.0/16")
    assert s.shown(1) == {"10.1.0.0/16": "-root"}
    s.delete(1, "10.1.0.0/16")
    s.report(1, "10.1.0.0/16")
    assert s.shown(1) == {"10.1.0.0/16": "+auto"}


@pytest.mark.parametrize("longest", [False, True])
def test_a_part_of_another_nodes_route_is_never_approved_automatically(scene, longest):
    s = scene(n1=["10.0.0.0/8"], n2=["10.0.0.0/8"])
    s.longest = longest
    s.report(1, "10.0.0.0/8")
    s.report(2, "10.1.0.0/16", "10.2.0.0/32")
    assert s.shown(2) == {"10.1.0.0/16": "-", "10.2.0.0/32": "-"}
    s.judge()
    assert s.shown(2) == {"10.1.0.0/16": "-", "10.2.0.0/32": "-"}


def test_first_come_first_served_within_one_change_of_the_policy(scene):
    s = scene()
    s.report(2, "10.0.0.0/8")
    s.report(1, "10.1.0.0/16")
    s.grant(user1=["10.0.0.0/8"])
    s.judge(1, 2)
    assert s.shown(2) == {"10.0.0.0/8": "+auto"}
    assert s.shown(1) == {"10.1.0.0/16": "-"}


def test_what_is_taken_back_makes_room_in_the_same_change(scene):
    s = scene(n1=["10.0.0.0/8"])
    s.report(1, "10.0.0.0/8")
    s.report(2, "10.1.0.0/16")
    s.grant(n2=["10.0.0.0/8"])
    s.judge(2, 1)
    assert s.shown(1) == {"10.0.0.0/8": "-"}
    assert s.shown(2) == {"10.1.0.0/16": "+auto"}


@pytest.mark.parametrize("longest", [False, True])
def test_a_wider_route_than_another_nodes_is_not_approved_automatically_either(scene, longest):
    s = scene(user1=["10.0.0.0/8"])
    s.longest = longest
    s.report(1, "10.1.0.0/16")
    s.report(2, "10.0.0.0/8")
    assert s.shown(2) == {"10.0.0.0/8": "-"}


def test_a_nodes_own_routes_may_overlap(scene):
    s = scene(n1=["10.0.0.0/8"])
    s.report(1, "10.0.0.0/8", "10.1.0.0/16")
    assert s.shown(1) == {"10.0.0.0/8": "+auto", "10.1.0.0/16": "+auto"}


def test_two_routers_of_one_prefix_stand_for_each_other(scene):
    s = scene(user1=["10.0.0.0/8", "fd00:1::/64"])
    for number in (1, 2, 3):
        s.report(number, "10.1.0.0/16", "fd00:1::/64")
    assert [s.shown(number) for number in (1, 2, 3)] == [{"10.1.0.0/16": "+auto", "fd00:1::/64": "+auto"}] * 3


def test_a_route_that_is_approved_but_not_advertised_still_stands_in_the_way(scene):
    s = scene(n2=["10.0.0.0/8"])
    s.report(1, "10.0.0.0/8")
    s.approve(1, "10.0.0.0/8")
    s.report(1)
    s.report(2, "10.1.0.0/16")
    assert s.shown(2) == {"10.1.0.0/16": "-"}


# An administrator's word


@pytest.mark.parametrize(("first", "second"), [("10.0.0.0/8", "10.1.0.0/16"), ("10.1.0.0/16", "10.0.0.0/8")])
def test_an_overlap_is_refused_unless_the_longest_wins(scene, first, second):
    s = scene()
    s.report(1, first)
    s.report(2, second)
    s.approve(1, first)
    with pytest.raises(Conflict, match=f"overlaps {first} of node1.*overlapping_routes"):
        s.approve(2, second)
    assert s.shown(2) == {second: "-"}
    s.longest = True
    s.approve(2, second)
    assert s.shown(2) == {second: "+root"}


def test_another_router_of_a_part_that_is_routed_already_changes_nothing_and_may_be_approved(scene):
    s = scene()
    for number in (1, 2):
        s.report(number, "10.0.0.0/8", "10.1.0.0/16")
        s.approve(number, "10.0.0.0/8", "10.1.0.0/16")
    assert s.shown(1) == s.shown(2) == {"10.0.0.0/8": "+root", "10.1.0.0/16": "+root"}


def test_several_are_approved_together_or_none_is(scene):
    s = scene()
    s.report(1, "10.0.0.0/8")
    s.approve(1, "10.0.0.0/8")
    s.report(2, "11.0.0.0/8", "10.1.0.0/16")
    with pytest.raises(Conflict):
        s.approve(2, "11.0.0.0/8", "10.1.0.0/16")
    assert s.shown(2) == {"11.0.0.0/8": "-", "10.1.0.0/16": "-"}


def test_what_a_node_never_offered_is_not_approved(scene):
    s = scene()
    s.report(1, "10.0.0.0/8")
    with pytest.raises(NotFound, match=r"node1 has no route 10.0.0.0/9; it offers 10.0.0.0/8"):
        s.approve(1, "10.0.0.0/9")
    with pytest.raises(NotFound, match=r"node2 has no route 10.0.0.0/8; it offers nothing"):
        s.approve(2, "10.0.0.0/8")


def test_what_the_policy_approved_may_become_an_administrators_word(scene):
    s = scene(n1=["10.0.0.0/8"])
    s.report(1, "10.0.0.0/8")
    s.approve(1, "10.0.0.0/8")
    s.grant()
    s.judge()
    assert s.shown(1) == {"10.0.0.0/8": "+root"}


def test_deleting_forgets_what_was_decided(scene):
    s = scene()
    s.report(1, "10.0.0.0/8", "11.0.0.0/8")
    s.approve(1, "10.0.0.0/8")
    assert [each.prefix for each in s.delete(1, "10.0.0.0/8")] == ["10.0.0.0/8"]
    assert s.shown(1) == {"11.0.0.0/8": "-"}
    s.report(1, "10.0.0.0/8", "11.0.0.0/8")
    assert s.shown(1) == {"11.0.0.0/8": "-", "10.0.0.0/8": "-"}


# Exit nodes


def test_an_exit_nodes_two_routes_are_approved_rejected_and_deleted_together(scene):
    s = scene()
    s.report(1, *EXIT, "10.0.0.0/8")
    assert len(s.approve(1, "0.0.0.0/0")) == 2
    assert s.shown(1) == {"0.0.0.0/0": "+root", "::/0": "+root", "10.0.0.0/8": "-"}
    s.reject(1, "::/0")
    assert s.shown(1) == {"0.0.0.0/0": "-root", "::/0": "-root", "10.0.0.0/8": "-"}
    s.delete(1, *EXIT)
    assert s.shown(1) == {"10.0.0.0/8": "-"}


def test_the_policy_approves_an_exit_node_only_for_both(scene):
    s = scene(n1=["0.0.0.0/0"], n2=EXIT)
    s.report(1, *EXIT)
    s.report(2, *EXIT)
    assert s.shown(1) == {"0.0.0.0/0": "-", "::/0": "-"}
    assert s.shown(2) == {"0.0.0.0/0": "+auto", "::/0": "+auto"}


def test_exit_nodes_and_subnet_routers_are_not_in_each_others_way(scene):
    s = scene(n1=EXIT, n2=EXIT, n3=["10.0.0.0/8", "fd00:1::/64"])
    s.report(1, *EXIT)
    s.report(3, "10.0.0.0/8", "fd00:1::/64")
    s.report(2, *EXIT)
    assert s.shown(1) == s.shown(2) == {"0.0.0.0/0": "+auto", "::/0": "+auto"}
    assert s.shown(3) == {"10.0.0.0/8": "+auto", "fd00:1::/64": "+auto"}


# What is refused


def test_what_is_refused_never_becomes_a_record(scene):
    s = scene(n1=["100.0.0.0/8", "fd00::/8"])
    s.report(1, "100.64.0.0/24", "100.64.0.0/10", "fd12:3456:789a::/64", "127.0.0.0/8", "ff00::/8", "100.65.0.0/16")
    assert s.shown(1) == {"100.65.0.0/16": "+auto"}


def test_a_relay_that_moves_into_a_route_takes_it_out_of_use_until_it_leaves(scene):
    s = scene(n2=["198.51.100.0/24"])
    for number, prefix in ((1, "203.0.113.0/24"), (2, "198.51.100.0/24")):
        s.report(number, prefix)
    s.approve(1, "203.0.113.0/24")
    relay = Relay(id=1, name="north-1", region=900, region_name="north", host="203.0.113.7")
    s.relays = [relay, replace(relay, id=2, host="198.51.100.7")]
    s.judge()
    assert s.shown(1) == {"(203.0.113.0/24)": "+root"}
    assert s.shown(2) == {}
    with pytest.raises(Conflict, match=r"it holds 203.0.113.7, where the relay north-1 is"):
        s.approve(1, "203.0.113.0/24")
    s.relays = []
    s.report(1, "203.0.113.0/24")
    s.report(2, "198.51.100.0/24")
    assert s.shown(1) == {"203.0.113.0/24": "+root"}
    assert s.shown(2) == {"198.51.100.0/24": "+auto"}
