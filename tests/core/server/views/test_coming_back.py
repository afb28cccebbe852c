"""Histories of viewers who were away, or too slow, or are of a policy that changed: what they missed reaches them."""

import msgspec
import pytest

from ghostwire.capabilities.policy import EVERYONE, PolicyRule
from ghostwire.model import Cursor, MapChange, Route
from ghostwire.server.views import changes, history
from ghostwire.wire.messages import decode_to_node

from .conftest import EMAIL, Mesh, Toy

ANN, BOB, CY = 1, 2, 3
"""Users. Of the nodes, 1 and 4 are ann's; 2 bob's; 3 (tag:a) and 5 (tag:b) act for nobody."""


def to(destination: str, *sources: str, **more) -> PolicyRule:
    return PolicyRule(sources=sources, destinations=(destination,), **more)


def own(*sources: str) -> PolicyRule:
    return PolicyRule(sources=sources, destinations=(), own=True)


def mesh_of(*rules: PolicyRule, **groups: frozenset[str]) -> Mesh:
    """A mesh, all of whose nodes are connected and have their maps."""
    mesh = Mesh()
    mesh.begin(toy(*rules, **groups))
    return mesh


def toy(*rules: PolicyRule, x: frozenset[str] = frozenset(), y: frozenset[str] = frozenset()) -> Toy:
    return Toy(rules, {"group:x": x, "group:y": y})


def told(mesh: Mesh, id_: int) -> MapChange:
    """What a node is told first when it comes back, and that its map is right with it."""
    mesh.connect(id_)
    mesh.fanout.serve(mesh.maps.outboxes.held[id_], {})
    first = mesh.members[id_].stream.inbox[0]
    mesh.look()
    return decode_to_node(first)


# While connected


def test_a_node_that_comes_into_a_set_of_ones_own_nodes_is_told_to_its_owner():
    mesh = mesh_of(own(EMAIL), own("ann"))
    mesh.mail(ANN, EMAIL)
    mesh.mail(ANN, "")


def test_a_tagged_node_with_another_tag_leaves_one_set_and_comes_into_the_other():
    mesh = mesh_of(to("ann", "tag:a", "tag:b"))
    mesh.alter(3, tags=("tag:b",))
    mesh.alter(3, tags=("tag:a", "tag:b"))


def test_a_node_that_leaves_a_set_leaves_it_for_a_holder_who_does_not_see_it_at_that_moment():
    mesh = mesh_of(to("ann", EVERYONE), to(EVERYONE, "tag:a", source_holders=("bob",)))
    mesh.many_at_once([1, 3, 5], ())


def test_a_node_that_goes_and_comes_back_between_two_frames_is_in_no_set_that_it_left():
    mesh = mesh_of(to("ann", "cy", "tag:a"))
    mesh.hold(3)
    mesh.expire(3, "record")
    mesh.alter(3, tags=())
    mesh.expire(3, "renewal")
    mesh.look()


@pytest.mark.parametrize("last", ["tag:a", "tag:b"])
def test_who_sees_otherwise_twice_between_two_frames_has_rules_and_sets_as_they_are(last):
    mesh = mesh_of(to("tag:a", "tag:b"), to("ann", "tag:b", "bob"), to("tag:a", EVERYONE))
    mesh.hold(3)
    mesh.alter(3, tags=())
    mesh.alter(5, tags=())
    mesh.alter(3, tags=(last,))
    mesh.look()


def test_two_policies_between_two_frames_are_told_as_the_second():
    mesh = mesh_of(to("ann", "bob"), to("tag:a", "cy"))
    mesh.hold(2)
    mesh.edit(toy(to("ann", "tag:a"), to("bob", "tag:b")))
    mesh.edit(toy(to("ann", "bob"), to("tag:b", "ann")))
    mesh.look()


def test_another_policy_between_two_frames_does_not_lose_what_a_viewer_who_moved_has_yet_to_be_told():
    mesh = mesh_of(to("ann", "tag:a"), to("tag:b", "bob"))
    mesh.hold(2)
    mesh.alter(5, tags=("tag:a",))
    mesh.edit(toy(to("ann", "tag:a")))
    mesh.look()


def test_a_group_with_another_member_moves_nodes_in_the_sets_of_viewers_who_see_as_before():
    mesh = mesh_of(to("ann", "group:x", EVERYONE), x=frozenset({"bob"}))
    mesh.edit(toy(to("ann", "group:x", EVERYONE), x=frozenset({"cy", "ann"})))


def test_a_node_that_changes_hands_changes_the_sets_of_two_owners_who_see_it_all_the_while():
    mesh = mesh_of(to(EVERYONE, EVERYONE), own("group:x"), x=frozenset({"ann", "bob"}))
    mesh.alter(4, user=BOB)
    mesh.alter(2, user=ANN)


def test_who_comes_under_another_label_sees_other_routes():
    mesh = mesh_of(to("10.1.0.0/16", "tag:a"), to("tag:b", "10.2.0.0/16"), to(EVERYONE, EVERYONE, own=True))
    mesh.advertise(2, "10.1.0.0/16")
    mesh.advertise(4, "10.2.0.0/16")
    mesh.alter(5, tags=("tag:a",))
    mesh.alter(5, tags=("tag:b",))


@pytest.mark.parametrize("few", [0, 256])
def test_a_policy_that_moves_many_or_few_nodes_moves_them_in_sets_that_are_held_before_and_after(few, monkeypatch):
    monkeypatch.setattr(changes, "FEW", few)
    mesh = mesh_of(to("ann", "group:x", EVERYONE), own("group:x"), x=frozenset({"bob"}))
    rules = to("ann", "group:x", EVERYONE, ports=((22, 22),)), own("group:x")
    mesh.edit(toy(*rules, x=frozenset({"cy", "ann"})))
    mesh.edit(toy(*rules, x=frozenset({"bob", "ann"})))


def test_policies_that_left_many_labels_out_of_use_begin_with_new_bits_and_everybody_with_a_new_map(monkeypatch):
    monkeypatch.setattr(changes, "WASTE", 2)
    first = to("ann", "tag:a"), to("bob", EVERYONE)
    mesh = mesh_of(*first)
    mesh.go(1)
    mesh.alter(3, tags=("tag:b",))
    mesh.advertise(2, "10.1.0.0/16")
    mesh.edit(toy(to("cy", "tag:b")))
    mesh.edit(toy(to("10.1.0.0/16", "group:x"), x=frozenset({"ann"})))
    mesh.edit(toy(*first))
    assert told(mesh, 1).full
    mesh.go(1)
    mesh.alter(3, tags=("tag:a",))
    mesh.edit(toy(*first))
    assert not told(mesh, 1).full


def test_the_routes_of_a_node_whose_key_has_expired_are_gone_until_it_is_renewed():
    mesh = mesh_of(to("10.1.0.0/16", "ann"))
    mesh.advertise(2, "10.1.0.0/16")
    mesh.expire(2, "record")
    mesh.expire(2, "renewal")


def test_what_a_router_says_first_after_a_restart_is_told_whatever_it_said_before():
    mesh = mesh_of(to("10.1.0.0/16", "ann"))
    mesh.advertise(2, "10.1.0.0/16")
    mesh.report(2, frozenset({"10.1.0.0/16"}))
    mesh.restart(back=True)
    mesh.report(2, frozenset())


# Away, while the server lives


def away(mesh: Mesh, id_: int = 1) -> Mesh:
    mesh.go(id_)
    return mesh


def test_a_node_that_moved_out_of_sight_meanwhile_is_gone():
    mesh = away(mesh_of(to("ann", "tag:a")))
    mesh.alter(3, tags=("tag:b",))
    change = told(mesh, 1)
    assert not change.full
    assert change.removed_nodes == (3,)


def test_a_node_that_changed_sets_meanwhile_is_in_the_right_ones():
    mesh = away(mesh_of(to("ann", "tag:a", "tag:b", "cy")))
    mesh.alter(3, tags=("tag:b",))
    change = told(mesh, 1)
    assert not change.full
    assert len(change.set_changes) == 2


def test_a_node_that_changed_hands_meanwhile_is_in_the_sets_of_its_owner():
    mesh = away(mesh_of(to(EVERYONE, EVERYONE), own("ann", "bob")))
    mesh.alter(4, user=BOB)
    mesh.alter(2, user=ANN)
    assert not told(mesh, 1).full


def test_what_others_nodes_carry_is_nothing_to_who_holds_a_set_of_his_own():
    mesh = away(mesh_of(to(EVERYONE, EVERYONE), own("10.1.0.0/16")))
    mesh.advertise(2, "10.1.0.0/16")
    change = told(mesh, 1)
    assert len(change.routes) == 1
    assert not change.set_changes


def test_a_node_that_came_and_went_meanwhile_is_not_told_of():
    mesh = away(mesh_of(to("ann", EVERYONE)))
    mesh.join(BOB)
    mesh.leave(6)
    change = told(mesh, 1)
    assert not change.full
    assert not change.nodes


def test_who_was_away_for_longer_than_former_places_are_remembered_begins_anew(monkeypatch):
    monkeypatch.setattr(history, "MAX_TRACES", 1)
    mesh = away(mesh_of(to("ann", "tag:a")))
    mesh.alter(3, tags=("tag:b",))
    mesh.alter(5, tags=("tag:a",))
    mesh.alter(5, tags=("tag:b",))
    assert told(mesh, 1).full


def test_who_was_away_for_as_long_as_former_places_are_remembered_does_not(monkeypatch):
    monkeypatch.setattr(history, "MAX_TRACES", 1)
    mesh = mesh_of(to("ann", "tag:a"))
    mesh.alter(5, tags=("tag:a",))
    away(mesh).alter(3, tags=("tag:b",))
    assert not told(mesh, 1).full


def test_nodes_that_a_policy_moved_into_sight_and_out_of_it_meanwhile_are_told_to_who_sees_as_before():
    rule = to("ann", "group:x")
    mesh = mesh_of(rule, x=frozenset({"bob"}))
    mesh.alter(3, tags=())
    away(mesh).edit(toy(rule, x=frozenset({"cy"})))
    change = told(mesh, 1)
    assert not change.full
    assert ([node.id for node in change.nodes], change.removed_nodes) == ([3], (2,))


def test_homes_that_moved_meanwhile_are_told():
    mesh = away(mesh_of(to("ann", "bob")))
    mesh.move(2, 1)
    assert told(mesh, 1).homes == {2: 1}


def test_routes_that_went_meanwhile_are_gone_and_those_that_one_never_saw_are_not_spoken_of():
    mesh = mesh_of(to("10.1.0.0/16", "ann"), to("10.2.0.0/16", "bob"))
    mesh.advertise(3, "10.1.0.0/16")
    mesh.advertise(3, "10.2.0.0/16")
    mine, others = mesh.of(Route)
    away(mesh).route(mine.id, "withdraw")
    mesh.route(others.id, "withdraw")
    change = told(mesh, 1)
    assert not change.full
    assert change.removed_routes == (mine.id,)


def test_a_route_whose_router_came_under_another_label_meanwhile_is_seen():
    mesh = mesh_of(to("tag:b", "ann"))
    mesh.advertise(3, "10.1.0.0/16")
    away(mesh).alter(3, tags=("tag:b",))
    change = told(mesh, 1)
    assert not change.full
    assert len(change.routes) == 1


@pytest.mark.parametrize("kept", [6, 4])
def test_what_happened_after_the_oldest_revision_is_kept_when_older_ones_are_forgotten(kept):
    mesh = mesh_of(to("ann", "tag:a", "bob", "cy"), to("10.1.0.0/16", "ann"))
    mesh.alter(5, user=CY, tags=())
    mesh.advertise(2, "10.1.0.0/16")
    mesh.alter(2, name="before")
    away(mesh).alter(3, tags=("tag:b",))
    mesh.route(mesh.of(Route)[0].id, "delete")
    mesh.move(5, 2)
    mesh.alter(2, name="after")
    mesh.compact(kept)
    assert not told(mesh, 1).full


# Away, while the server starts anew


def test_a_node_that_went_before_a_restart_is_gone():
    mesh = away(mesh_of(to("ann", "tag:a")))
    mesh.leave(3)
    mesh.restart()
    change = told(mesh, 1)
    assert not change.full
    assert change.removed_nodes == (3,)


def test_a_node_that_moved_out_of_sight_before_a_restart_is_gone():
    mesh = away(mesh_of(to("ann", "tag:a")))
    mesh.alter(3, tags=("tag:b",))
    mesh.restart()
    change = told(mesh, 1)
    assert not change.full
    assert 3 in change.removed_nodes


def test_a_node_that_nobody_can_know_who_was_away_is_not_told_of_after_a_restart():
    mesh = away(mesh_of(to("ann", "tag:a")))
    mesh.join(BOB)
    mesh.restart()
    change = told(mesh, 1)
    assert not change.full
    assert not change.removed_nodes


def test_a_node_that_changed_sets_before_a_restart_is_in_the_right_ones():
    mesh = away(mesh_of(to("ann", "tag:a", EVERYONE), own("ann", "bob")))
    mesh.alter(3, name="before")
    mesh.go(2)
    mesh.alter(3, tags=("tag:b",))
    mesh.alter(4, user=BOB)
    mesh.restart()
    assert not told(mesh, 1).full
    assert not told(mesh, 2).full


def test_a_node_whose_key_was_renewed_before_a_restart_is_in_sets_again():
    mesh = mesh_of(to("ann", "tag:a", EVERYONE))
    mesh.expire(3, "record")
    away(mesh).expire(3, "renewal")
    mesh.restart()
    change = told(mesh, 1)
    assert not change.full
    assert change.set_changes


def test_who_was_told_by_another_server_is_told_again_what_happened_since_this_one_started():
    mesh = mesh_of(to(EVERYONE, EVERYONE))
    mesh.alter(2, name="before")
    mesh.move(2, 1)
    mesh.alter(3, name="after")
    member = mesh.members[1]
    away(mesh)
    member.map.cursor = msgspec.structs.replace(member.map.cursor, clock={"elsewhere": 1})
    change = told(mesh, 1)
    assert not change.full
    assert {node.id for node in change.nodes} | change.homes.keys() >= {2, 3}


def test_a_node_that_went_before_the_second_of_two_restarts_is_gone():
    mesh = mesh_of(to("ann", "tag:a"))
    mesh.restart(back=True)
    away(mesh).leave(3)
    mesh.restart()
    assert told(mesh, 1).removed_nodes == (3,)


def test_a_node_whose_key_expired_while_no_server_ran_is_gone_with_its_routes():
    mesh = mesh_of(to("ann", "tag:a"), to("10.1.0.0/16", "ann"))
    mesh.advertise(3, "10.1.0.0/16")
    mesh.alter(3, expires=mesh.now + 5)
    mesh.alter(3, name="told after that")
    away(mesh).restart()
    change = told(mesh, 1)
    assert not change.full
    assert (change.removed_nodes, len(change.removed_routes)) == ((3,), 1)


def test_a_router_whose_key_was_renewed_before_a_restart_has_its_routes_again():
    mesh = mesh_of(to("10.1.0.0/16", "ann"), to("ann", "bob"))
    mesh.advertise(2, "10.1.0.0/16")
    mesh.expire(2, "record")
    away(mesh).expire(2, "renewal")
    mesh.restart()
    change = told(mesh, 1)
    assert not change.full
    assert len(change.routes) == 1


def test_who_was_away_when_a_route_went_of_whose_router_the_log_says_nothing_begins_anew():
    mesh = mesh_of(to("ann", "10.1.0.0/16", EVERYONE))
    mesh.advertise(2, "10.1.0.0/16")
    mesh.alter(4, name="before")
    away(mesh).route(mesh.of(Route)[0].id, "delete")
    mesh.restart(compacted=1)
    assert told(mesh, 1).full


def test_a_user_with_another_address_before_a_restart_has_his_nodes_in_the_right_sets():
    mesh = away(mesh_of(to("bob", EMAIL, EVERYONE), to("tag:a", EMAIL)), 2)
    mesh.go(3)
    mesh.mail(ANN, EMAIL)
    mesh.restart()
    assert not told(mesh, 2).full
    change = told(mesh, 3)
    assert not change.full
    assert {node.id for node in change.nodes} == {1, 4}


def test_who_was_away_before_the_last_policy_of_an_earlier_start_begins_anew():
    rules = to("ann", "group:x")
    mesh = away(mesh_of(rules, x=frozenset({"bob"})))
    mesh.edit(toy(rules, x=frozenset({"cy"})))
    mesh.alter(3, tags=())
    mesh.restart()
    assert told(mesh, 1).full


def test_who_was_away_after_the_last_policy_of_an_earlier_start_resumes():
    rules = to("ann", "group:x")
    mesh = mesh_of(rules)
    mesh.edit(toy(rules, x=frozenset({"bob"})))
    away(mesh).alter(2, name="renamed")
    mesh.restart()
    assert not told(mesh, 1).full


def test_a_route_that_went_before_a_restart_is_gone_and_its_router_stands_elsewhere():
    mesh = mesh_of(to("10.1.0.0/16", "ann"), to("ann", "10.1.0.0/16"))
    mesh.advertise(3, "10.1.0.0/16")
    away(mesh).route(mesh.of(Route)[0].id, "withdraw")
    mesh.restart()
    change = told(mesh, 1)
    assert not change.full
    assert change.removed_routes


@pytest.mark.parametrize("cursor", [Cursor(1, b"another"), Cursor(10**6, b"1")], ids=["another mark", "the future"])
def test_a_cursor_of_another_history_begins_anew(cursor):
    mesh = away(mesh_of(to("ann", EVERYONE)))
    mesh.members[1].map.cursor = cursor
    assert told(mesh, 1).full
