"""Which router a prefix goes through."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire.model import MapRoute
from ghostwire.node.routing.rules import Rules

from .conftest import World, node

LAN = "10.1.0.0/16"


def test_the_lowest_route_goes_first_and_the_others_may_answer_for_it(world: World) -> None:
    world.route(8, LAN, 3)
    world.route(5, LAN, 2)
    assert world.via(LAN) == 2
    assert world.router.allowed(2) == (ip_network(LAN),)
    assert world.router.accepts(3) == (ip_network(LAN),)
    assert world.router.allowed(3) == world.router.accepts(2) == ()
    assert world.router.texts() == (LAN,)


def test_a_route_that_is_gone_leaves_the_prefix_to_the_next_or_to_nobody(world: World) -> None:
    world.route(5, LAN, 2)
    world.route(8, LAN, 3)
    world.tell(removed_routes=(5,))
    assert world.via(LAN) == 3
    world.tell(removed_nodes=(3,))
    assert world.via(LAN) is None
    assert world.router.texts() == ()
    world.tell(nodes=(node(3),))
    assert world.via(LAN) == 3


def test_own_routes_and_those_of_unknown_routers_are_not_used(world: World) -> None:
    world.route(5, LAN, 1)
    world.route(6, "10.2.0.0/16", 99)
    assert world.router.texts() == ()


def test_a_full_map_replaces_all_and_what_stays_changes_no_peer(world: World) -> None:
    world.route(5, LAN, 2)
    world.route(6, "10.2.0.0/16", 3)
    world.changed.clear()
    kept = MapRoute(id=5, prefix=LAN, router=2)
    world.tell(full=True, nodes=tuple(node(id_) for id_ in (1, 2, 3)), routes=(kept,))
    assert world.router.texts() == (LAN,)
    assert world.changed == {3}


def test_a_malformed_prefix_costs_only_itself(world: World) -> None:
    world.route(5, "10.1.0.0/8", 2)
    world.route(6, LAN, 2)
    assert world.router.texts() == (LAN,)
    assert world.router.offers.unusable == 1


def test_default_routes_go_through_the_chosen_exit_node_alone(world: World) -> None:
    for id_, router in enumerate((2, 3), 5):
        world.route(id_, "0.0.0.0/0", router)
    assert world.via("0.0.0.0/0") is None
    world.router.prefer(3, accept=True, now=world.now)
    assert world.via("0.0.0.0/0") == 3
    assert world.router.accepts(2) == ()
    world.router.prefer(None, accept=True, now=world.now)
    assert world.via("0.0.0.0/0") is None


def test_who_accepts_no_routes_may_still_use_an_exit_node(world: World) -> None:
    world.route(5, LAN, 2)
    world.route(6, "::/0", 2)
    world.router.prefer(2, accept=False, now=world.now)
    assert (world.via(LAN), world.via("::/0")) == (None, 2)


def test_a_router_that_says_it_cannot_is_passed_over_and_comes_back_after_a_while(world: World) -> None:
    world.route(5, LAN, 2)
    world.route(8, LAN, 3)
    world.route(5, LAN, 2, down=True)
    assert world.via(LAN) == 3
    world.route(5, LAN, 2)
    world.run(29)
    assert world.via(LAN) == 3
    world.run(2)
    assert world.via(LAN) == 2
    world.run(3600)


def test_who_is_the_only_one_keeps_its_prefix_though_it_says_it_cannot(world: World) -> None:
    world.route(5, LAN, 2, down=True)
    assert world.via(LAN) == 2


def test_a_router_that_goes_down_again_and_again_has_to_be_well_for_longer_each_time(world: World) -> None:
    world.route(5, LAN, 2)
    world.route(8, LAN, 3)
    waited = []
    for _ in range(3):
        world.route(5, LAN, 2, down=True)
        world.route(5, LAN, 2)
        began = world.now
        while world.via(LAN) == 3:
            world.run(1)
        waited.append(round((world.now - began) / 1e9))
    assert waited == [30, 60, 120]


def test_what_is_refused_is_not_used_and_says_why(world: World) -> None:
    guarded = {ip_address("10.9.0.1"): "the mesh's server"}
    rules = Rules((ip_network("100.64.0.0/10"),), guarded, (ip_network("192.168.1.0/24"),), frozenset())
    world.router.obey(rules, world.now)
    prefixes = ("100.64.5.0/24", "10.8.0.0/15", "192.168.1.0/25", "127.0.0.0/8", "10.1.0.0/16")
    for id_, prefix in enumerate(prefixes, 5):
        world.route(id_, prefix, 2)
    assert world.router.texts() == ("10.1.0.0/16",)
    refused = {str(prefix): why for prefix, why in world.router.refusals.items()}
    assert refused == {
        "100.64.5.0/24": "it lies in the mesh's own 100.64.0.0/10",
        "10.8.0.0/15": "it holds 10.9.0.1, the mesh's server",
        "192.168.1.0/25": "this machine is on 192.168.1.0/24 itself",
        "127.0.0.0/8": "loopback addresses are not routed",
    }
    world.router.obey(Rules(), world.now)
    assert len(world.router.texts()) == 4


def test_a_route_around_a_network_that_this_machine_is_on_is_used(world: World) -> None:
    world.router.obey(Rules(own=(ip_network("10.9.8.0/24"),)), world.now)
    world.route(5, "10.0.0.0/8", 2)
    assert world.router.texts() == ("10.0.0.0/8",)


def test_what_this_node_is_a_router_of_itself_goes_through_no_other(world: World) -> None:
    world.route(5, LAN, 2)
    world.router.obey(Rules(offered=frozenset({ip_network(LAN)})), world.now)
    assert world.via(LAN) is None
    assert "router of it itself" in world.router.refusals[ip_network(LAN)]


_PREFIXES = ("10.1.0.0/16", "10.1.1.0/24", "fd00:9::/48", "0.0.0.0/0")
_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(("put", "down", "drop", "join", "leave", "exit", "full")),
        st.integers(1, 6),
        st.sampled_from(_PREFIXES),
        st.integers(1, 4),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(_EVENTS)
def test_whatever_happens_the_choice_is_the_one_that_a_fresh_engine_makes(events: list[Any]) -> None:
    """Health and holds aside, which only time makes."""
    world, routes, nodes, exit_ = World(), {}, {1, 2, 3, 4}, None
    for what, id_, prefix, router in events:
        if what in ("put", "down"):
            routes[id_] = MapRoute(id=id_, prefix=prefix, router=router, down=what == "down")
            world.tell(routes=(routes[id_],))
        elif what == "drop":
            routes.pop(id_, None)
            world.tell(removed_routes=(id_,))
        elif what == "join":
            nodes.add(router)
            world.tell(nodes=(node(router),))
        elif what == "leave" and router != 1:
            nodes.discard(router)
            world.tell(removed_nodes=(router,))
        elif what == "exit":
            exit_ = router if router != 1 else None
            world.router.prefer(exit_, accept=True, now=world.now)
        elif what == "full":
            told = tuple(node(each) for each in nodes)
            world.tell(full=True, nodes=told, routes=tuple(routes.values()))
    world.run(3600)
    fresh = World(nodes)
    fresh.router.prefer(exit_, accept=True, now=fresh.now)
    fresh.tell(routes=tuple(routes.values()))
    fresh.run(3600)
    for prefix in _PREFIXES:
        assert world.via(prefix) == fresh.via(prefix)
    for peer in range(2, 5):
        assert set(world.router.allowed(peer)) == set(fresh.router.allowed(peer))
        assert set(world.router.accepts(peer)) == set(fresh.router.accepts(peer))
    assert world.router.texts() == fresh.router.texts()


def test_a_flood_of_routes_is_bounded_and_those_that_came_first_are_kept(world: World, monkeypatch) -> None:
    monkeypatch.setattr("ghostwire.node.routing.offers.MAX_OFFERS", 100)
    routes = [MapRoute(id=number, prefix=f"10.1.{number}.0/24", router=2) for number in range(1, 201)]
    world.tell(routes=tuple(routes))
    assert len(world.router.texts()) == 100
    assert world.router.offers.unusable == 100
    world.route(1, "10.9.0.0/16", 2)
    assert world.via("10.9.0.0/16") == 2
    world.tell(removed_routes=(2,), routes=(routes[150],))
    assert world.via(str(routes[150].prefix)) == 2


def test_no_handful_of_wide_routes_stands_in_for_an_exit_node_that_nobody_chose(world: World) -> None:
    for id_, prefix in enumerate(("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1", "2000::/3", "64.0.0.0/3"), 5):
        world.route(id_, prefix, 2)
    assert world.router.texts() == ()
    assert len(world.router.refusals) == 6
