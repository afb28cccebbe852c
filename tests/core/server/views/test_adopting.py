"""What happens while a policy comes into force step by step, at whichever step: all are told what holds in the end."""

from collections.abc import Callable

import pytest

from ghostwire.capabilities.policy import EVERYONE, Bearer, PolicyRule, Prefix
from ghostwire.model import Route
from ghostwire.server.views import changes
from ghostwire.server.views.scene import Item

from .conftest import Mesh, Toy

ANN, BOB, CY = 1, 2, 3
STEPS = 40
"""More than adopting takes here."""


def toy(*rules: PolicyRule, x: frozenset[str] = frozenset()) -> Toy:
    return Toy(rules, {"group:x": x, "group:y": frozenset()})


def to(destination: str, *sources: str) -> PolicyRule:
    return PolicyRule(sources=sources, destinations=(destination,))


def mesh_of(*rules: PolicyRule, x: frozenset[str] = frozenset()) -> Mesh:
    mesh = Mesh()
    mesh.protocol = 2
    mesh.begin(toy(*rules, x=x))
    return mesh


def leave(mesh: Mesh) -> None:
    mesh.leave(4)


def join(mesh: Mesh) -> None:
    mesh.join(BOB, ("tag:a",))


def tag(mesh: Mesh) -> None:
    mesh.alter(3, tags=("tag:b",))


def delete_routes(mesh: Mesh) -> None:
    for route in mesh.of(Route):
        mesh.route(route.id, "delete")


def withdraw_routes(mesh: Mesh) -> None:
    for route in mesh.of(Route):
        mesh.route(route.id, "withdraw")


def advertise(mesh: Mesh) -> None:
    mesh.advertise(3, "10.1.0.0/16")


@pytest.mark.parametrize("happens", [leave, join, tag, delete_routes, withdraw_routes, advertise])
def test_what_happens_at_any_step_of_a_policy_is_seen_under_it(happens: Callable[[Mesh], None]) -> None:
    for steps in range(STEPS):
        mesh = mesh_of(to("ann", "bob"), to("10.1.0.0/16", "ann"))
        mesh.advertise(2, "10.1.0.0/16")
        mesh.advertise(5, "10.2.0.0/16")
        mesh.edit_slowly(toy(to("ann", "tag:a"), to("10.1.0.0/16", "bob", "ann"), to("10.2.0.0/16", "ann")))
        mesh.advance(steps)
        coming, mesh.coming = mesh.coming, None  # it stands still
        happens(mesh)
        mesh.coming = coming
        mesh.finish()


def test_who_saw_a_node_before_the_policy_changed_and_no_longer_does_is_told_so_though_it_sees_by_the_same() -> None:
    mesh = mesh_of(to("ann", "group:x", "tag:a"), x=frozenset({"bob"}))
    assert 2 in mesh.members[1].map.nodes
    mesh.edit_slowly(toy(to("ann", "group:x", "tag:a"), x=frozenset({"cy"})))
    mesh.finish()
    assert 2 not in mesh.members[1].map.nodes
    assert mesh.maps.examined == 1  # bob's node itself; ann's see by the same


class Grouped(Toy):
    """Routes are reached by their routers' groups."""

    def route_selectors(self, node: Bearer, route: Prefix) -> list[str]:
        return [name for name, members in self.groups.items() if node.owner.name in members]


def test_who_saw_a_route_before_the_policy_changed_and_no_longer_does_is_told_so_though_it_sees_by_the_same() -> None:
    def policy(member: str) -> Grouped:
        return Grouped((to("group:x", "tag:a"),), {"group:x": frozenset({member}), "group:y": frozenset()})

    mesh = mesh_of()
    mesh.edit(policy("bob"))
    mesh.advertise(2, "10.1.0.0/16")
    assert len(mesh.members[3].map.routes) == 1
    mesh.edit(policy("cy"))
    assert not mesh.members[3].map.routes


def test_nobody_is_told_anything_until_all_is_known_that_a_policy_changes() -> None:
    mesh = mesh_of(to("ann", "group:x"), to(EVERYONE, "tag:a"), x=frozenset({"bob", "cy"}))
    mesh.join(CY)
    mesh.join(BOB)
    mesh.edit_slowly(toy(to("ann", "group:x")))
    while not mesh.maps.turning:
        assert mesh.coming is not None
        mesh.advance(1)
    turns = 0
    while mesh.maps.turning:
        mesh.serve()
        assert not any(member.stream.inbox for member in mesh.members.values() if member.stream)
        mesh.creep(1)
        turns += 1
    assert turns > 2
    mesh.look()
    assert set(mesh.members[1].map.nodes) == {1}


def test_a_node_that_ends_before_it_has_all_that_it_lacks_is_told_again_what_it_sees() -> None:
    mesh = mesh_of(to("ann", "bob"))
    mesh.alter(2, name="so that its cursor is younger than the node that it will lack")
    mesh.go(1)
    mesh.edit(toy(to("ann", "tag:a", "bob")))
    mesh.members[1].silent = True
    mesh.come(1)
    assert mesh.members[1].map.lacking == {3}
    mesh.wake(1)
    assert mesh.members[1].map.lacking == {3}
    mesh.hush(1)
    assert mesh.members[1].map.lacking == set()
    assert 3 in mesh.members[1].map.nodes


def test_viewers_to_whom_a_policy_shows_the_same_share_a_frame_whoever_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(changes, "FEW", 0)
    mesh = mesh_of(to("tag:a", "tag:a", "tag:b"))
    for user in (ANN, BOB, CY):
        mesh.join(user, ("tag:a",))
    mesh.maps.adopt(toy(to("tag:a", EVERYONE)))
    made: dict[frozenset[Item], bytes] = {}
    for box in mesh.fanout.due():
        mesh.fanout.serve(box, made)
    frames = {id_: member.stream.inbox[-1] for id_, member in mesh.members.items() if member.stream}
    assert frames[6] is frames[7] is frames[8] is frames[3]
    assert frames[5] is not frames[3]
    mesh.policy = toy(to("tag:a", EVERYONE))
    mesh.look()
